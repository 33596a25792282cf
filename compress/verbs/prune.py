"""Take channels and blocks out of a network; export it, prove it, measure it."""

import argparse
from typing import TYPE_CHECKING

from compress.flags import given
from compress.verbs.one_stage import (
    MODEL,
    add_recipe_flags,
    execute_recipe,
    plain,
    recipe_of,
)

if TYPE_CHECKING:
    from compress.answer import Answer
    from compress.screen import Screen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: the model and every key of the stage."""
    parser.usage = (
        "compress prune --model M|RUN [--weights F] [--data D] "
        "(--ratio X | --macs X | --params X | --size-mb X) [options]"
    )
    add_recipe_flags(parser, stage="prune", model=MODEL)


def execute(options: argparse.Namespace, screen: "Screen") -> "Answer":
    """Run the one-stage recipe that the flags describe."""
    name = f"prune-{plain(given(options, 'model'))}"
    recipe = recipe_of(options, stage="prune", name=name, model=MODEL)
    return execute_recipe(recipe, options, screen)
