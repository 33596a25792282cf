"""Train a network on your data; export it, prove it, measure it."""

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

if TYPE_CHECKING:
    from compress.context.answer import Answer
    from compress.context.console import Console


EXAMPLES: Final = (
    (
        "compress finetune --model mobilenet_v2 --weights pretrained.pth "
        "--data folder:photos --epochs 20"
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: the model and every key of the stage."""
    parser.usage = "compress finetune --model M [--weights F] [--data D] [options]"
    add_recipe_flags(parser, stage="finetune", model=MODEL)


def execute(options: argparse.Namespace, console: "Console") -> "Answer":
    """Run the one-stage recipe that the flags describe."""
    options = with_own_data(options, console)
    name = f"finetune-{plain(given(options, 'model'))}"
    recipe = recipe_of(options, stage="finetune", name=name, model=MODEL)
    return execute_recipe(recipe, options, console)
