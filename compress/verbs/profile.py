"""`compress profile`: measure model files, on this machine or on another device.

On this machine it is the same as `python -m runtime`, with this program's flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runtime.profile import add_arguments, keep

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from compress.answer import Answer
    from compress.devices.fleet import Fleet
    from compress.screen import Screen
    from runtime.plan import Plan

__all__ = ["add_arguments", "execute"]

EXAMPLES: Final = (
    "compress profile model.onnx",
    "compress profile float.onnx int8.onnx --compare",
    "compress profile model.onnx --check",
    "compress profile model.onnx --device pi4,pi5",
)


def execute(options: argparse.Namespace, screen: Screen) -> Answer:
    """Measure `options.files` on `options.device`, or check them there.

    Several devices, with commas between them, make one table.
    """
    from pathlib import Path

    from compress.devices.table import device
    from runtime.plan import Plan

    plan = Plan.of(options)
    files = [Path(name) for name in options.files]
    if "," in options.device:
        return _fleet(options, files, plan, screen)
    if options.check:
        return device(options.device).check(files, plan, screen)
    answer = device(options.device).measure(files, plan, screen)
    keep(answer, options, screen)
    return answer


def _fleet(
    options: argparse.Namespace, files: Sequence[Path], plan: Plan, screen: Screen
) -> Fleet:
    """Measure on several devices; `--out` gets a file with all samples for each."""
    from pathlib import Path

    from compress.devices.fleet import Errand, profile_fleet
    from compress.devices.table import device
    from runtime.artifact import Artifact
    from runtime.errors import RecipeError
    from runtime.files import write_text

    if options.check:
        raise RecipeError(
            "--check: is for one device; without it the self-test runs on each, too"
        )
    for file in files:
        Artifact.read(file)
    out = None if options.out is None else Path(options.out)
    names = [name.strip() for name in options.device.split(",")]
    if len(set(names)) < len(names) or "" in names:
        raise RecipeError(f"--device {options.device}: a name is twice there, or empty")
    errand = Errand(files=files, plan=plan, screen=screen, out=out)
    answer = profile_fleet({name: device(name) for name in names}, errand)
    if out is not None:
        write_text(out / "profile.json", answer.as_json() + "\n")
        screen.tell(f"every sample: {out}")
    return answer
