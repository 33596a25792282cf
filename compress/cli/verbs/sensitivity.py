"""What each layer's channels are worth: accuracy against the share that is cut."""

import argparse
from typing import TYPE_CHECKING, Final

from compress.cli.flags import add_flags, given
from compress.cli.own_data import with_own_data
from compress.cli.verbs.one_stage import DATA_FLAGS, MODEL, flags_of
from compress.data.spec import DataSpec
from compress.models.spec import ModelSpec, from_name
from runtime.errors import RecipeError
from runtime.units import SHARE

if TYPE_CHECKING:
    from compress.context.answer import Answer
    from compress.context.console import Console

IMAGES: Final = 500
RATIOS: Final = "0.25,0.5,0.75"


EXAMPLES: Final = (
    ("compress sensitivity --model resnet18 --weights trained.pt --data folder:photos"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: the model, the images to judge it by, and how finely."""
    parser.usage = (
        "compress sensitivity --model M|RUN [--weights F] [--data D] [--images N] "
        "[options]"
    )
    add_flags(parser, ModelSpec, title="model", names=MODEL, prefix="model")
    add_flags(parser, DataSpec, title="data", names=DATA_FLAGS, prefix="data")
    parser.add_argument(
        "--images",
        type=int,
        default=IMAGES,
        metavar="N",
        help=f"how many held-out images judge (default: {IMAGES})",
    )
    parser.add_argument(
        "--ratios",
        default=RATIOS,
        metavar="X,X",
        help=f"shares of a group's channels to cut (default: {RATIOS})",
    )
    parser.add_argument(
        "--criterion",
        choices=("l1", "l2", "bn", "fpgm", "random"),
        default="l2",
        help="which channels go first (default: l2)",
    )


def execute(options: argparse.Namespace, console: "Console") -> "Answer":
    """Measure; with --out the chart is written too."""
    options = with_own_data(options, console)
    from pathlib import Path

    from compress.context.extras import check_installed
    from compress.context.validation import record_from
    from compress.report import charts

    check_installed("torch_pruning")
    if options.images < 1:
        raise RecipeError(f"--images: found {options.images}; at least 1")
    from compress.pruning.sensitivity import PLOT, sensitivity
    from runtime.files import write_text

    answer = sensitivity(
        record_from(
            ModelSpec, from_name(given(options, "model")), flags_of({(): MODEL})
        ),
        record_from(DataSpec, given(options, "data"), flags_of({(): DATA_FLAGS})),
        images=options.images,
        ratios=_ratios(options.ratios),
        criterion=options.criterion,
        seed=options.seed or 0,
        device=options.device,
        threads=options.threads,
        console=console,
    )
    if options.out is not None and charts.available():
        write_text(Path(options.out) / PLOT, answer.drawn())
    return answer


def _ratios(text: str) -> list[float]:
    """Shares between 0 and 1, ascending."""
    try:
        found = sorted({SHARE.number(each) for each in text.split(",")})
    except ValueError:
        found = []
    if not found or not all(0 < ratio < 1 for ratio in found):
        raise RecipeError(
            f"--ratios: found {text!r}; give shares above 0 and below 1 with commas "
            f"between, such as {RATIOS}"
        )
    return found
