"""Whether the network of a run and each of its files answer alike on real images."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compress.cli.arguments import share, whole
from compress.cli.flags import add_flags, given
from compress.cli.own_data import with_own_data
from compress.cli.verbs.one_stage import DATA_FLAGS, flags_of
from compress.data.spec import DataSpec
from compress.models.spec import CodePath

if TYPE_CHECKING:
    from compress.context.answer import Answer
    from compress.context.console import Console


EXAMPLES: Final = (
    "compress verify runs/quantize-mobilenet_v2-1a2b3c4d",
    "compress verify model.onnx --target jetson-orin",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: the run, the images, and how much agreement is asked for."""
    parser.usage = (
        "compress verify RUN [--data D] [--images 500] [options]\n"
        "       compress verify FILE.onnx --target jetson-orin"
    )
    parser.add_argument(
        "run",
        metavar="RUN",
        help="run directory whose files to check, or an ONNX file with --target",
    )
    parser.add_argument(
        "--target",
        metavar="NAME",
        help="hold a QDQ file, whoever wrote it, against the rules of this device's "
        "runtime, without running it",
    )
    parser.add_argument(
        "--images",
        type=whole(1, 1_000_000),
        default=500,
        metavar="N",
        help="how many held-out images to ask all of them (default: 500)",
    )
    parser.add_argument(
        "--threshold",
        type=share,
        default=0.99,
        metavar="X",
        help="least share of images on which two must choose alike (default: 0.99)",
    )
    parser.add_argument(
        "--model-file",
        type=CodePath,
        metavar="FILE.py:FUNCTION",
        help="your own network, if the run's model was one",
    )
    parser.add_argument(
        "--runtime",
        metavar="NAME",
        help="what executes the files, such as openvino (default: their formats' own)",
    )
    add_flags(parser, DataSpec, title="data", names=DATA_FLAGS, prefix="data")


def execute(options: argparse.Namespace, console: "Console") -> "Answer":
    """Compare everything with everything, pair by pair."""
    from compress.context.validation import record_from
    from compress.evaluation.verification import verify
    from compress.pipeline.finished import whole

    if options.target is not None:
        from compress.evaluation.linting import linted

        return linted(Path(options.run), options.target)
    report = whole(Path(options.run))
    options = with_own_data(options, console, options.run)

    asked = given(options, "data")
    return verify(
        report,
        record_from(DataSpec, asked, flags_of({(): DATA_FLAGS})) if asked else None,
        factory=options.model_file,
        images=options.images,
        threshold=options.threshold,
        threads=options.threads or 1,
        runtime=options.runtime,
        seed=options.seed or 0,
        console=console,
    )
