"""`compress profile`: measure model files, on this machine or on another device.

On this machine it is the same as `python -m runtime`, with this program's flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runtime.profile import add_arguments, instead, keep

if TYPE_CHECKING:
    import argparse

    from compress.screen import Screen
    from runtime.profile import Answer

__all__ = ["add_arguments", "execute"]

EXAMPLES: Final = (
    "compress profile model.onnx",
    "compress profile float.onnx int8.onnx --compare",
    "compress profile model.onnx --check",
)


def execute(options: argparse.Namespace, screen: Screen) -> Answer:
    """Measure `options.files` on `options.device`; check and classify on this one."""
    from pathlib import Path

    from compress.devices.table import device
    from runtime.plan import Plan

    if options.device == "cpu" and (other := instead(options)) is not None:
        return other
    plan = Plan.of(options)
    found = device(options.device)
    answer = found.measure([Path(name) for name in options.files], plan, screen)
    keep(answer, options, screen)
    return answer
