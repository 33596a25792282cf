"""Split layers into products of thinner ones; fit, export, prove, measure."""

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
        "compress factorize --model vgg11_bn --weights trained.pt --energy "
        "0.95 --data folder:photos"
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: the model and every key of the stage."""
    parser.usage = (
        "compress factorize --model M|RUN [--weights F] [--data D] "
        "(--energy X | --latency X) [--layers NAME,NAME] [options]"
    )
    add_recipe_flags(parser, stage="factorize", model=MODEL)


def execute(options: argparse.Namespace, console: "Console") -> "Answer":
    """Run the one-stage recipe that the flags describe."""
    options = with_own_data(options, console)
    name = f"factorize-{plain(given(options, 'model'))}"
    recipe = recipe_of(options, stage="factorize", name=name, model=MODEL)
    return execute_recipe(recipe, options, console)
