"""A model by whatever name the user gave: an architecture, a run, a saved model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from compress.context.context import RunContext
from compress.data.dataset import Catalog
from compress.models.build import build, fits
from compress.models.checkpoint import (
    TENSORS,
    is_model,
    load_model,
    saved_classes,
    saved_precision,
)
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.recipe.stage import CALLED, Stage
from runtime.errors import RecipeError


def open_model(
    spec: ModelSpec,
    data: Catalog,
    context: RunContext,
    *,
    size: int | None,
    adapt: bool,
) -> Model:
    """The model that `spec` names, fed as it was, or as `data` was asked for.

    With `adapt` its head has one output for each class of `data`, and a network whose
    weights were made for other classes gets a fresh one; without, the head stays.
    """
    folder = saved_model(spec.name)
    if folder is not None:
        model = _fed(load_model(folder, factory=spec.factory), data)
        if not adapt:
            return model
        if len(model.classes) == len(data.classes):
            return replace(model, classes=data.classes)
        spec = model.spec.model_copy(update={"weights": str(folder / TENSORS)})
    model = build(
        spec,
        classes=data.classes if adapt else None,
        # A network that is only asked or exported keeps the size it was made for.
        native_size=data.native_size if adapt else None,
        size=size,
        shown_size=data.native_size,
        seed=context.seed,
        console=context.console,
    )
    if not (adapt or model.trained):
        context.console.tell(
            f"{model.spec.name}: has no weights, so it answers at random; name some "
            "with --weights"
        )
    return _fed(model, data)


def _fed(model: Model, data: Catalog) -> Model:
    """The model, fed the images of `data` as the user asked for."""
    return replace(model, preprocess=data.asked(model.preprocess))


def check_start(spec: ModelSpec, steps: Sequence[tuple[str, Stage]]) -> None:
    """Refuse a model that the first stage cannot take, before it is read.

    Of an INT8 run no stage makes anything: the float model is what can still learn.
    """
    folder = saved_model(spec.name) if steps else None
    if folder is None:
        return
    name, stage = steps[0]
    if saved_precision(folder) == stage.takes:
        return
    beside = [each for each in sorted(folder.parent.iterdir()) if is_model(each)]
    fit = [str(each) for each in beside if saved_precision(each) == stage.takes]
    which = f": {' or '.join(fit)}" if fit else ""
    raise RecipeError(
        f"model: {spec.name} is quantized already, to INT8, and {name} takes "
        f"{CALLED[stage.takes]}; name the model that it was made from{which} "
        "(`compress quantize --mode qat` trains that in INT8)"
    )


def is_trained_for(spec: ModelSpec, data: Catalog) -> bool:
    """Whether `spec` comes with weights that already know the classes of `data`.

    A saved model names its classes; of a bare checkpoint only their number is known.
    """
    folder = saved_model(spec.name)
    if folder is None:
        return fits(spec, data.classes)
    return saved_classes(folder) == data.classes


def saved_model(name: str) -> Path | None:
    """The folder of the model that `name` leads to; None if it is no path to one.

    A run directory leads to its newest model, a stage folder and the safetensors file
    in it to theirs.
    """
    folder = Path(name)
    if folder.name == TENSORS and is_model(folder.parent):
        return folder.parent
    if not folder.is_dir():
        return None
    if is_model(folder):
        return folder
    if (folder / "saved_model.pb").is_file():
        raise RecipeError(
            f"{folder}: a TensorFlow SavedModel holds a graph, not layers; save the "
            "model as .keras or .h5, which any verb reads"
        )
    stages = [child for child in sorted(folder.iterdir()) if is_model(child)]
    if not stages:
        raise RecipeError(
            f"{folder}: holds no saved model; name a run directory with a finished "
            "stage, or an architecture"
        )
    return stages[-1]
