"""`compress profile`: measure model files, on this machine or on another device.

On this machine it is the same as `python -m runtime`, with this program's flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runtime.errors import RecipeError
from runtime.profile import add_arguments as add_runtime_arguments
from runtime.profile import keep

if TYPE_CHECKING:
    import argparse

    from compress.prediction.prediction import Predictions
    from compress.screen import Screen
    from runtime.profiled import Profile

__all__ = ["add_arguments", "execute"]

EXAMPLES: Final = (
    "compress profile model.onnx",
    "compress profile float.onnx int8.onnx --compare",
    "compress profile int8.tflite --as rpi5",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m runtime`, and what only a workstation can do."""
    add_runtime_arguments(parser)
    parser.add_argument(
        "--as",
        dest="board",
        metavar="BOARD",
        help="predict for a board that is not there: rpi4, rpi5 (TFLite; counts "
        "instructions of an emulated core, measures nothing)",
    )


def execute(options: argparse.Namespace, screen: Screen) -> Profile | Predictions:
    """Measure `options.files` on `options.device`, or predict for a board."""
    from pathlib import Path

    if options.board is not None:
        return _predict(options, screen)

    from compress.devices.table import device
    from runtime.plan import Plan

    plan = Plan.of(options)
    found = device(options.device)
    answer = found.measure([Path(name) for name in options.files], plan, screen)
    keep(answer, options, screen)
    return answer


def _predict(options: argparse.Namespace, screen: Screen) -> Predictions:
    """Predict for `options.board`; everything is checked before anything is counted."""
    from pathlib import Path

    from compress.prediction.boards import board
    from compress.prediction.predict import (
        check_installed,
        check_predictable,
        predicted,
    )
    from compress.prediction.prediction import Predictions
    from runtime.artifact import Artifact
    from runtime.files import write_text

    found = board(options.board)
    if options.device != "cpu" or options.compare or (options.threads or 1) != 1:
        raise RecipeError(
            f"--as {found.name}: predicts one thread and measures nothing; leave out "
            "--device, --compare and --threads"
        )
    artifacts = [Artifact.read(Path(name)) for name in options.files]
    for artifact in artifacts:
        check_predictable(artifact)
    check_installed()
    answer = Predictions(
        predictions=tuple(predicted(each, found, screen) for each in artifacts)
    )
    if options.out is not None:
        path = Path(options.out) / "predictions.json"
        write_text(path, answer.as_json() + "\n")
        screen.tell(f"every operator: {path}")
    return answer
