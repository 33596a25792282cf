"""`compress profile`: measure model files, on this machine or on another device.

On this machine it is the same as `python -m runtime`, with this program's flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runtime.profile import add_arguments, keep

if TYPE_CHECKING:
    import argparse

    from compress.screen import Screen
    from runtime.profiled import Profile

__all__ = ["add_arguments", "execute"]

EXAMPLES: Final = (
    "compress profile model.onnx",
    "compress profile float.onnx int8.onnx --compare",
)


def execute(options: argparse.Namespace, screen: Screen) -> Profile:
    """Measure `options.files` on `options.device`."""
    from pathlib import Path

    from compress.devices.table import device
    from runtime.plan import Plan

    plan = Plan.of(options)
    found = device(options.device)
    answer = found.measure([Path(name) for name in options.files], plan, screen)
    keep(answer, options, screen)
    return answer
