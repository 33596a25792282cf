"""The data of the run that a model comes from, where a command names none."""

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compress.cli.flags import given
from compress.data.spec import DataSpec
from runtime.errors import RecipeError

if TYPE_CHECKING:
    from compress.context.console import Console

# What a run directory has its models in: 01-finetune and so on, and its files.
_INSIDE: Final = re.compile(r"\d\d-.+|artifacts")
_DEEPEST: Final = 3  # RUN/01-finetune/step-2/model.safetensors


def with_own_data(
    options: argparse.Namespace, console: "Console", *runs: str
) -> argparse.Namespace:
    """The same flags, with the data of the run that the model (or `runs`) leads into.

    Where `--data` is given, or nothing leads into a run directory, nothing is added.
    Other flags of the data win over the run's. A run may be of somebody else: what is
    read is said, and nothing is downloaded.
    """
    if "source" in given(options, "data"):
        return options
    names = [*runs, *(given(options, key).get("name") for key in ("model", "teacher"))]
    run = next(filter(None, (run_of(str(name)) for name in names if name)), None)
    if run is None:
        return options
    spec = _recorded(run)
    console.tell(
        f"data: {spec.source!r}, as the run {run} was made with; --data names other"
    )
    keys = spec.model_dump(exclude={"download"}, exclude_defaults=True)
    keys["source"] = spec.source
    known = {f"data.{key}": value for key, value in keys.items()}
    return argparse.Namespace(**{**known, **vars(options)})


def run_of(model: str) -> Path | None:
    """The run directory that `model` is or lies in; None where there is none."""
    from compress.pipeline.run_directory import RECIPE

    path = Path(model)
    above = [path, *path.parents][: _DEEPEST + 1]
    for folder in above:
        inside = path.relative_to(folder).parts
        if inside and not _INSIDE.fullmatch(inside[0]):
            continue
        if os.path.isfile(folder / RECIPE):  # noqa: PTH113  # Path's raises for long names
            return folder
    return None


def _recorded(run: Path) -> DataSpec:
    """What the recipe of a run says of its data, if it is still there."""
    from compress.pipeline.run_directory import RECIPE
    from compress.recipe.recipe import read_recipe

    try:
        spec = read_recipe(run / RECIPE).data
    except RecipeError as error:
        raise RecipeError(f"{error}; name the data with --data") from error
    kind, colon, rest = spec.source.partition(":")
    place = rest if colon and kind in ("folder", "csv") else spec.source
    is_path = place != spec.source or "/" in place or place.endswith((".zip", ".csv"))
    if is_path and not os.path.exists(os.path.expanduser(place)):  # noqa: PTH110, PTH111  # as in _at
        raise RecipeError(
            f"{run}: was made with {spec.source!r}, which is not there any more; name "
            "the data with --data"
        )
    return spec
