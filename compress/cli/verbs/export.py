"""Write a model file and prove on real images that it computes what was trained."""

import argparse
from typing import TYPE_CHECKING, Final

from compress.cli.flags import given
from compress.cli.own_data import with_own_data
from compress.cli.verbs.one_stage import (
    MODEL,
    add_recipe_flags,
    add_trust_flag,
    check_trust,
    execute_recipe,
    folder_of,
    plain,
    recipe_of,
)
from compress.models.spec import is_saved_model

if TYPE_CHECKING:
    from compress.context.answer import Answer
    from compress.context.console import Console


EXAMPLES: Final = (
    (
        "compress export --model runs/finetune-mobilenet_v2-1a2b3c4d --to "
        "onnx,tflite --size-bytes 15MB"
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: the model, the formats, the images to prove it on."""
    parser.usage = "compress export --model M|RUN [--weights F] [--data D] [options]"
    add_recipe_flags(parser, stage=None, model=MODEL)
    add_trust_flag(parser)


def execute(options: argparse.Namespace, console: "Console") -> "Answer":
    """Run the recipe without stages that the flags describe."""
    options = with_own_data(options, console)
    name = f"export-{plain(given(options, 'model'))}"
    recipe = recipe_of(options, stage=None, name=name, model=MODEL)
    check_trust(recipe.model, trusted=options.trust)
    if is_saved_model(recipe.model.name):
        from compress.pipeline.engines.saved_model import convert

        return convert(
            recipe,
            folder_of(recipe, options),
            console=console,
            trusted=options.trust,
        )
    return execute_recipe(recipe, options, console)
