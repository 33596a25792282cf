"""Take channels and blocks out of a network; export it, prove it, measure it."""

import argparse
from typing import TYPE_CHECKING, Final

from compress.cli.flags import given
from compress.cli.own_data import with_own_data
from compress.cli.verbs.one_stage import (
    MODEL,
    add_recipe_flags,
    execute_recipe,
    plain,
    recipe_of,
)
from compress.recipe.prune import BUDGETS
from runtime.errors import RecipeError

if TYPE_CHECKING:
    from compress.context.answer import Answer
    from compress.context.console import Console


EXAMPLES: Final = (
    (
        "compress prune --model runs/finetune-resnet18-1a2b3c4d --macs 0.5 "
        "--data folder:photos"
    ),
    (
        "compress prune --model resnet50 --weights trained.pt --latency 0.5 "
        "--data folder:photos"
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: the model and every key of the stage."""
    parser.usage = (
        "compress prune --model M|RUN [--weights F] [--data D] "
        "(--ratio X | --macs X | --params X | --size-mb X | --latency X | "
        "--latency-ms X [--target T]) [options]"
    )
    add_recipe_flags(parser, stage="prune", model=MODEL)


def execute(options: argparse.Namespace, console: "Console") -> "Answer":
    """Run the one-stage recipe that the flags describe."""
    options = with_own_data(options, console)
    _cut_for_latency_(options)
    name = f"prune-{plain(given(options, 'model'))}"
    recipe = recipe_of(options, stage="prune", name=name, model=MODEL)
    return execute_recipe(recipe, options, console)


def _cut_for_latency_(options: argparse.Namespace) -> None:
    """Let a latency that the run is judged by be what is cut for, if nothing else is.

    The device is the one that the file is for.
    """
    cut_for = set(BUDGETS) & set(given(options, "stage"))
    limit = given(options, "budget").get("latency_ms")
    if limit is not None and not cut_for:
        setattr(options, "stage.latency_ms", limit)
    targets = given(options, "export").get("target")
    if isinstance(targets, tuple) and targets and cut_for <= {"latency"}:
        if len(targets) > 1:
            raise RecipeError(
                f"--target: {', '.join(targets)}: a cut keeps the latency of one "
                "device; name one, and run the command again for the others"
            )
        setattr(options, "stage.target", targets[0])
