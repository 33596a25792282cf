"""Top-1 and top-5 of an architecture with weights, a run, or an exported file."""

import argparse
from typing import TYPE_CHECKING, Final

from compress.cli.flags import add_flags, given
from compress.cli.own_data import with_own_data
from compress.cli.verbs.one_stage import DATA_FLAGS, MODEL, flags_of
from compress.data.spec import DataSpec
from compress.models.spec import ModelSpec, from_name

if TYPE_CHECKING:
    from compress.context.answer import Answer
    from compress.context.console import Console


EXAMPLES: Final = (
    "compress eval --model runs/quantize-mobilenet_v2-1a2b3c4d",
    "compress eval --model model.onnx --data folder:photos",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: the model or file, and the images to judge it by."""
    parser.usage = "compress eval --model M|RUN|FILE [--weights F] [--data D] [options]"
    add_flags(parser, ModelSpec, title="model", names=MODEL, prefix="model")
    add_flags(parser, DataSpec, title="data", names=DATA_FLAGS, prefix="data")


def execute(options: argparse.Namespace, console: "Console") -> "Answer":
    """Evaluate on the held-out images."""
    options = with_own_data(options, console)
    from compress.context.validation import record_from
    from compress.evaluation.evaluate import evaluate

    return evaluate(
        record_from(
            ModelSpec, from_name(given(options, "model")), flags_of({(): MODEL})
        ),
        record_from(DataSpec, given(options, "data"), flags_of({(): DATA_FLAGS})),
        seed=options.seed or 0,
        device=options.device,
        threads=options.threads,
        console=console,
    )
