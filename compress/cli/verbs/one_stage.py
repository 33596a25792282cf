"""A verb that is sugar for a recipe: its flags are the recipe's keys."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compress.cli.flags import Names, add_flags, flag_of, given
from compress.context.validation import Location, Naming, record_from
from compress.data.spec import DataSpec
from compress.models.spec import ModelSpec, is_saved_model
from compress.recipe.recipe import Export, Limits, Recipe
from compress.recipe.stages import STAGES
from runtime.errors import RecipeError
from runtime.files import file_name

if TYPE_CHECKING:
    from compress.context.answer import Answer
    from compress.context.console import Console

DATA_FLAGS: Final[Names] = {
    "source": "--data",
    "size": "--image-size",
    "root": "--data-root",
}
# It shares the flag --device with what computes; see `execute_recipe`.
EXPORT_FLAGS: Final[Names] = {"device": None}
NOT_RENAMED: Final[Names] = {}


def model_flags(name: str, weights: str) -> Names:
    """The flags of the model: its name and weights are called differently by verb."""
    return {
        "name": name,
        "weights": weights,
        "ema": f"{weights}-ema",
        "factory": "--model-file",
    }


# Keys of stages without a flag of their own: a record within the stage, and what the
# flags of export and budget say already (see `verbs.prune`).
_STAGE_FLAGS: Final[Names] = {"teacher": None, "latency_ms": None, "target": None}
# What most verbs call the model; `distill` has a student instead.
MODEL: Final = model_flags("--model", "--weights")


def add_recipe_flags(
    parser: argparse.ArgumentParser,
    *,
    stage: str | None,
    model: Names,
    renamed: Names = NOT_RENAMED,
) -> None:
    """Give `parser` every key of a recipe with the one stage `stage`, or with none.

    `renamed` says what some keys of the stage are called as flags.
    """
    add_flags(parser, ModelSpec, title="model", names=model, prefix="model")
    if stage is not None:
        kind = STAGES[stage]
        names = {**_STAGE_FLAGS, **renamed}
        add_flags(parser, kind, title=stage, names=names, prefix="stage")  # type: ignore[arg-type]
    add_flags(parser, DataSpec, title="data", names=DATA_FLAGS, prefix="data")
    add_flags(parser, Export, title="export", names=EXPORT_FLAGS, prefix="export")
    add_flags(parser, Limits, title="budget", names={}, prefix="budget")


def add_trust_flag(parser: argparse.ArgumentParser) -> None:
    """Let the user vouch for a model that is a program; no recipe can."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="let TensorFlow run the program that a SavedModel is; only if you know "
        "who made it",
    )


def check_trust(spec: ModelSpec, *, trusted: bool) -> None:
    """Refuse to be trusted with what is no program anyway."""
    if trusted and not is_saved_model(spec.name):
        raise RecipeError(
            f"--trust: is for TensorFlow SavedModels, and {spec.name} is none; leave "
            "it out"
        )


def recipe_of(  # noqa: PLR0913  # what each part of a recipe is called as a flag
    options: argparse.Namespace,
    *,
    stage: str | None,
    name: str,
    model: Names,
    teacher: Names | None = None,
    renamed: Names = NOT_RENAMED,
) -> Recipe:
    """The recipe that the flags describe.

    `model`, `teacher` and `renamed` say what keys of these two, and of the stage, are
    called as flags.
    """
    record: dict[str, object] = {
        "name": name,
        "model": given(options, "model"),
        "data": given(options, "data"),
        "export": given(options, "export") | _measuring(options),
        "budget": given(options, "budget"),
    }
    if stage is not None:
        nested = {} if teacher is None else {"teacher": given(options, "teacher")}
        record["stages"] = [{stage: given(options, "stage") | nested}]
    if options.seed is not None:
        record["seed"] = options.seed
    tables: dict[tuple[str, ...], Names] = {
        ("model",): model,
        ("data",): DATA_FLAGS,
        ("export",): EXPORT_FLAGS,
    }
    if stage is not None:
        tables["stages", stage] = renamed
    if teacher is not None:
        tables["stages", str(stage), "teacher"] = teacher
    return record_from(Recipe, record, flags_of(tables))


def flags_of(tables: Mapping[tuple[str, ...], Names]) -> Naming:
    """Name a place by its flag; `tables` says which are not simply `--key`."""

    def named(location: Location) -> str:
        *place, key = [part for part in location if isinstance(part, str)] or ["?"]
        return flag_of(key, tables.get(tuple(place), {})) or "command line"

    return named


def _measuring(options: argparse.Namespace) -> dict[str, object]:
    """The key of what measures, if --device names that."""
    from compress.devices.measuring import parted

    _, measures = parted(options.device)
    return {} if measures is None else {"device": measures}


def execute_recipe(
    recipe: Recipe, options: argparse.Namespace, console: "Console"
) -> "Answer":
    """Run `recipe` where and on what the shared flags say."""
    from compress.devices.measuring import parted
    from compress.pipeline.run import run

    computes, _ = parted(options.device)
    return run(
        recipe,
        folder_of(recipe, options),
        device=computes,
        threads=options.threads,
        console=console,
    )


def folder_of(recipe: Recipe, options: argparse.Namespace) -> Path:
    """Where a run goes: where the user said, or a place named after its recipe."""
    # A recipe from elsewhere may be called ../../what-it-likes.
    name = file_name(recipe.name) or "run"
    return Path(options.out or f"runs/{name}-{recipe.digest()[:8]}")


def plain(spec: Mapping[str, object]) -> str:
    """A model's name as part of a run's: of a path its end, of a run the run's own."""
    name = str(spec.get("name") or spec.get("factory") or "?")
    path = Path(name)
    if (path / "model.json").is_file():  # a stage of a run, or a model on its own
        stage = (path.parent / "recipe.yaml").is_file()
        path = path.parent if stage else path
    return file_name(path.resolve().name if path.is_dir() else path.name)
