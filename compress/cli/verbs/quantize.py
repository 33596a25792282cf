"""Make an INT8 model, after training or by training; export, prove, measure."""

import argparse
from typing import TYPE_CHECKING, Final, cast

from compress.cli.flags import add_flags, flag_of, given
from compress.cli.own_data import with_own_data
from compress.cli.verbs.one_stage import (
    DATA_FLAGS,
    EXPORT_FLAGS,
    MODEL,
    add_trust_flag,
    check_trust,
    execute_recipe,
    folder_of,
    plain,
    recipe_of,
)
from compress.data.spec import DataSpec
from compress.models.spec import ModelSpec, is_saved_model
from compress.recipe.ptq import Ptq
from compress.recipe.recipe import Export, Limits
from compress.recipe.stages import STAGES
from runtime.errors import RecipeError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from compress.context.answer import Answer
    from compress.context.console import Console

MODES: Final = ("ptq", "qat")


EXAMPLES: Final = (
    (
        "compress quantize --model mobilenet_v2 --weights trained.pt --data "
        "folder:photos --to onnx,tflite"
    ),
    "compress quantize --model runs/finetune-mobilenet_v2-1a2b3c4d --flips 1%",
    (
        "compress quantize --model mobilenet_v2 --weights trained.pt --mode "
        "qat --data folder:photos"
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: the model, the mode, and every key of both stages."""
    parser.usage = (
        "compress quantize --model M|RUN [--weights F] --mode ptq|qat [--data D] "
        "[options]"
    )
    add_flags(parser, ModelSpec, title="model", names=MODEL, prefix="model")
    add_trust_flag(parser)
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="ptq",
        help="after training, from a few hundred images, or by training (default: ptq)",
    )
    parser.add_argument(
        "--engine",
        choices=("edgepress", "nncf"),
        default="edgepress",
        help="who chooses the grids; nncf works on the ONNX file, post-training only "
        "(default: edgepress)",
    )
    known: set[str] = set()
    for mode in MODES:
        kind = cast("type[BaseModel]", STAGES[mode])
        shared = dict.fromkeys(known)
        add_flags(parser, kind, title=mode, names=shared, prefix=mode)
        known |= set(kind.model_fields)
    add_flags(parser, DataSpec, title="data", names=DATA_FLAGS, prefix="data")
    add_flags(parser, Export, title="export", names=EXPORT_FLAGS, prefix="export")
    add_flags(parser, Limits, title="budget", names={}, prefix="budget")


def execute(options: argparse.Namespace, console: "Console") -> "Answer":
    """Run the one-stage recipe that the flags describe."""
    options = with_own_data(options, console)
    mode = str(options.mode)
    for key, value in _keys_of(mode, options).items():
        setattr(options, f"stage.{key}", value)
    name = f"quantize-{plain(given(options, 'model'))}"
    if options.engine == "nncf":
        if mode != "ptq":
            raise RecipeError("--engine nncf: quantizes after training; use --mode ptq")
        from compress.pipeline.engines.nncf import quantize_with_nncf

        recipe = recipe_of(options, stage="ptq", name=f"{name}-nncf", model=MODEL)
        return quantize_with_nncf(recipe, folder_of(recipe, options), console)
    recipe = recipe_of(options, stage=mode, name=name, model=MODEL)
    check_trust(recipe.model, trusted=options.trust)
    if is_saved_model(recipe.model.name):
        from compress.pipeline.engines.saved_model import convert

        ((_, stage),) = recipe.steps()
        if not isinstance(stage, Ptq):
            raise RecipeError("--mode qat: a SavedModel cannot be trained; use ptq")
        if (stage.accuracy_drop, stage.flips) != (None, None):
            raise RecipeError(
                "--accuracy-drop, --flips: TensorFlow quantizes a SavedModel, which "
                "has no doctor; leave them out"
            )
        return convert(
            recipe,
            folder_of(recipe, options),
            console=console,
            trusted=options.trust,
            ptq=stage,
        )
    return execute_recipe(recipe, options, console)


def _keys_of(mode: str, options: argparse.Namespace) -> dict[str, object]:
    """The keys of the mode's stage that were given; another mode's are refused."""
    fields = cast("type[BaseModel]", STAGES[mode]).model_fields
    found: dict[str, object] = {}
    for each in MODES:
        for key, value in given(options, each).items():
            if key not in fields:
                raise RecipeError(
                    f"{flag_of(key, {})}: belongs to --mode {each}, not to --mode "
                    f"{mode}; leave it out, or change the mode"
                )
            found[key] = value
    return found
