"""Write a model file and prove on real images that it computes what was trained."""

import argparse
from typing import TYPE_CHECKING, Final

from compress.flags import given
from compress.models.spec import is_saved_model
from compress.own_data import with_own_data
from compress.verbs.one_stage import (
    MODEL,
    add_recipe_flags,
    execute_recipe,
    folder_of,
    plain,
    recipe_of,
)

if TYPE_CHECKING:
    from compress.answer import Answer
    from compress.screen import Screen


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


def execute(options: argparse.Namespace, screen: "Screen") -> "Answer":
    """Run the recipe without stages that the flags describe."""
    options = with_own_data(options, screen)
    name = f"export-{plain(given(options, 'model'))}"
    recipe = recipe_of(options, stage=None, name=name, model=MODEL)
    if is_saved_model(recipe.model.name):
        from compress.saved_model import convert

        return convert(recipe, folder_of(recipe, options), screen=screen)
    return execute_recipe(recipe, options, screen)
