"""A teacher ready for this data: trained at most once, then kept."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from compress.context.cache import hold, making, places
from compress.context.console import counted
from compress.context.context import RunContext, is_main_process
from compress.data.dataset import Dataset
from compress.models.checkpoint import is_model, load_model, save_model, weights_digest
from compress.models.model import Model
from compress.models.names import family
from compress.models.opening import is_trained_for, open_model
from compress.models.spec import ModelSpec
from compress.recipe.finetune import FineTune
from compress.training.finetuning import finetune
from compress.training.resume import forget_state
from compress.training.views import training_images
from runtime.errors import InputRejectedError
from runtime.files import digest_of

# Enough from scratch on a few thousand small images; `teacher_epochs` says otherwise.
DEFAULT_EPOCHS = 5
# Counts up when training gives other weights; 2: with batch-norm statistics of its own.
_FORMAT: Final = 2


def teacher_for(
    spec: ModelSpec,
    data: Dataset,
    context: RunContext,
    *,
    epochs: int | None,
    exif: bool,
) -> Model:
    """The teacher that `spec` names, fine-tuned for `data` where it has to be.

    It has to be where it has no weights, or weights for other classes, or where
    `epochs` says so. The result is kept under a name made of everything it depends
    on, so the next run finds it, whatever that run's student or folder. `exif`: as its
    student sees images, since both look at the same pixels.
    """
    teacher = open_model(spec, data, context, size=None, adapt=True)
    teacher = replace(teacher, preprocess=replace(teacher.preprocess, exif=exif))
    if epochs is None:
        epochs = 0 if is_trained_for(spec, data) else DEFAULT_EPOCHS
    if epochs == 0:
        return teacher
    # A teacher learns in few epochs; SGD would spend half of them getting started.
    training = FineTune(epochs=epochs, optimizer="adamw")
    images = training_images(data.open(teacher.preprocess))
    options = training.training(
        family(teacher.spec.name), trained=teacher.trained, images=len(images)
    )
    key = digest_of(
        _FORMAT,
        weights_digest(teacher),
        teacher.preprocess.as_record(),
        images.digest,
        options.model_dump(),
        context.seed,
    )
    for folder in places(context.cache / "teachers" / key[:32]):
        kept = _kept(folder, spec, context)
        if kept is not None:
            return kept
    context.console.tell(
        f"teacher {spec.name}: has no weights for {data.name}, so it is trained first, "
        f"{counted(epochs, 'epoch')}; the next run will reuse it"
    )
    with making(folder):
        here = replace(context, folder=folder, title="teacher")
        trained = finetune(teacher, data, here, training).model
        if is_main_process():
            save_model(trained, folder)
            forget_state(folder)
    return trained


def _kept(folder: Path, spec: ModelSpec, context: RunContext) -> Model | None:
    """The teacher that an earlier run kept in `folder`; None where there is none."""
    held = hold(folder)
    if held is None or not is_model(folder):
        return None
    try:
        kept = load_model(folder, like=spec, sealed=True)
    except InputRejectedError as error:
        context.console.tell(f"teacher {spec.name}: the kept one is of no use: {error}")
        return None
    context.console.tell(f"teacher {spec.name}: reused, trained earlier ({folder})")
    return kept


def larger(*models: Model) -> Model:
    """The model that looks at the highest resolution: its views serve all."""
    return max(models, key=lambda model: model.preprocess.size)
