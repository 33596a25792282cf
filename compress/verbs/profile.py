"""`compress profile`: measure model files, on this machine or on another device.

On this machine it is the same as `python -m runtime`, with this program's flags. For a
board that is not there, `--as` predicts instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compress.arguments import Parser, add_computing_flags
from runtime.errors import RecipeError
from runtime.plan import numbers
from runtime.profile import add_arguments as add_runtime_arguments
from runtime.profile import answered, instead, keep

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from compress.answer import Answer
    from compress.devices.fleet import Fleet
    from compress.prediction.prediction import Predictions
    from compress.screen import Screen
    from runtime.plan import Plan

__all__ = ["THREADS", "add_arguments", "execute"]

# Several numbers of threads are measured one after the other.
THREADS: Final = numbers

EXAMPLES: Final = (
    "compress profile model.onnx",
    "compress profile float.onnx int8.onnx --compare",
    "compress profile model.onnx --check",
    "compress profile model.onnx --device pi4,pi5",
    "compress profile int8.tflite --as rpi5",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m runtime`, and what only a workstation can do."""
    add_runtime_arguments(parser)
    parser.add_argument(
        "--as",
        dest="board",
        metavar="BOARD",
        help="predict for a board that is not here: rpi4 or rpi5 (TFLite; counts "
        "instructions on an emulated core, measures nothing)",
    )


def execute(options: argparse.Namespace, screen: Screen) -> Answer:
    """Measure `options.files` on `options.device`, or check them there.

    Several devices, with commas between them, make one table. `--as` predicts.
    """
    from pathlib import Path

    if options.board is not None:
        return _predict(options, screen)

    from compress.devices.table import device
    from runtime.plan import Plan

    other = instead(options)
    if other in {"classify", "layers"}:
        if options.device != "cpu":
            raise RecipeError(
                f"--{other}: answers on this machine; on {options.device} itself it "
                f"is: python -m runtime --{other}"
            )
        return answered(other, options)
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


def _predict(options: argparse.Namespace, screen: Screen) -> Predictions:
    """Predict for a board; everything is checked before anything is counted."""
    from pathlib import Path

    from compress.prediction.boards import board
    from compress.prediction.predict import predict_files
    from runtime.files import write_text

    found = board(options.board)
    if idle := _measuring(options):
        raise RecipeError(
            f"--as {found.name}: predicts one thread and measures nothing; leave out "
            f"{', '.join(idle)}"
        )
    answer = predict_files([Path(name) for name in options.files], found, screen)
    if options.out is not None:
        path = Path(options.out) / "predictions.json"
        write_text(path, answer.as_json() + "\n")
        screen.tell(f"every operator: {path}")
    return answer


def _measuring(options: argparse.Namespace) -> list[str]:
    """The flags that were given and that only a measurement has."""
    parser = Parser()
    add_runtime_arguments(parser)
    add_computing_flags(parser, threads=THREADS)
    silent = vars(parser.parse_args(["--", *options.files]))
    given = {name for name, value in silent.items() if getattr(options, name) != value}
    if options.threads == (1,):
        given.discard("threads")
    return [f"--{name}" for name in silent if name in given]
