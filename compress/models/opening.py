"""A model by whatever name the user gave: an architecture, a run, a saved model."""

from dataclasses import replace
from pathlib import Path

from compress.context.context import RunContext
from compress.data.dataset import Dataset
from compress.models.build import build, fits
from compress.models.checkpoint import (
    TENSORS,
    is_model,
    load_model,
    saved_classes,
)
from compress.models.model import Model
from compress.models.spec import ModelSpec
from runtime.errors import RecipeError


def open_model(
    spec: ModelSpec,
    data: Dataset,
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
        model = _fed(load_model(folder, like=spec), data)
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


def _fed(model: Model, data: Dataset) -> Model:
    """The model, fed the images of `data` as the user asked for."""
    return replace(model, preprocess=data.asked(model.preprocess))


def is_trained_for(spec: ModelSpec, data: Dataset) -> bool:
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
