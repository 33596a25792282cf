"""Run a recipe file: data, model, stages, export, budget."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compress.cli.verbs.one_stage import execute_recipe
from compress.context.answer import Facts
from compress.devices.measuring import parted
from compress.recipe.recipe import Recipe, read_recipe
from runtime.errors import RecipeError

if TYPE_CHECKING:
    from compress.context.answer import Answer
    from compress.context.console import Console


EXAMPLES: Final = (
    "compress run recipe.yaml",
    "compress run --schema",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: the recipe."""
    parser.add_argument("recipe", nargs="?", metavar="RECIPE.yaml")
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of recipes instead"
    )


def execute(options: argparse.Namespace, console: "Console") -> "Answer":
    """Run the recipe, or describe what a recipe may say."""
    if options.schema:
        schema = Recipe.model_json_schema()
        return Facts(text=json.dumps(schema, indent=2), facts=schema)
    if options.recipe is None:
        raise RecipeError("name a recipe file, or ask for --schema")
    recipe = read_recipe(Path(options.recipe))
    if options.seed is not None:
        recipe = recipe.model_copy(update={"seed": options.seed})
    _, measures = parted(options.device)
    if measures is not None:
        export = recipe.export.model_copy(update={"device": measures})
        recipe = recipe.model_copy(update={"export": export})
    return execute_recipe(recipe, options, console)
