"""Set weights to zero and train around them; export, prove, report what it is worth."""

import argparse
from typing import TYPE_CHECKING, Final

from compress.cli.flags import Names, given
from compress.cli.own_data import with_own_data
from compress.cli.verbs.one_stage import (
    MODEL,
    add_recipe_flags,
    execute_recipe,
    plain,
    recipe_of,
)

if TYPE_CHECKING:
    from compress.context.answer import Answer
    from compress.context.console import Console

# Here a schedule is that of the zeros; a recipe calls it what it schedules.
RENAMED: Final[Names] = {"thinning": "--schedule", "schedule": "--rate-schedule"}


EXAMPLES: Final = (
    (
        "compress sparsify --model resnet18 --weights trained.pt --sparsity "
        "0.8 --data folder:photos"
    ),
    "compress sparsify --model runs/finetune-resnet18-1a2b3c4d --pattern 2:4",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: the model and every key of the stage."""
    parser.usage = (
        "compress sparsify --model M|RUN [--weights F] [--data D] "
        "(--sparsity X | --pattern 2:4) [options]"
    )
    add_recipe_flags(parser, stage="sparsify", model=MODEL, renamed=RENAMED)


def execute(options: argparse.Namespace, console: "Console") -> "Answer":
    """Run the one-stage recipe that the flags describe."""
    options = with_own_data(options, console)
    recipe = recipe_of(
        options,
        stage="sparsify",
        name=f"sparsify-{plain(given(options, 'model'))}",
        model=MODEL,
        renamed=RENAMED,
    )
    return execute_recipe(recipe, options, console)
