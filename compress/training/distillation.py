"""Knowledge distillation: a student learns from labels and from its teacher's answers.

Hinton et al. 2015.
"""

from collections.abc import Mapping

from compress.context.context import RunContext
from compress.data.data import Data
from compress.data.dataset import Catalog
from compress.models.model import Model
from compress.models.stage_result import StageResult
from compress.recipe.distill import Distill
from compress.training.distillation_loss import distillation_loss
from compress.training.fit import fit
from compress.training.teacher import larger, teacher_for
from compress.training.views import augmentation


def distill(
    model: Model, data: Catalog, context: RunContext, options: Distill
) -> StageResult:
    """A copy of `model` that minimizes alpha T^2 KL + (1 - alpha) cross-entropy."""
    models = references(model, data, context, options)
    teacher = models["teacher"]
    opened = data.open(larger(model, teacher).preprocess)
    views = distinct_views(opened, options)
    mixed = options.mixup > 0 or options.cutmix > 0
    if views is not None and mixed:
        context.console.tell(
            "teacher: asked every time, since mixed images have no answers on disk"
        )
    loss = distillation_loss(
        teacher,
        opened,
        context,
        options,
        share=options.alpha,
        temperature=options.temperature,
        views=None if mixed else views,
    )
    made = fit(model, opened, loss, options, context, views=views)
    return StageResult(model=made, references=models)


def references(
    model: Model, data: Catalog, context: RunContext, options: Distill
) -> Mapping[str, Model]:
    """The teacher, fine-tuned for `data` where it has to be."""
    teacher = teacher_for(
        options.teacher,
        data,
        context,
        epochs=options.teacher_epochs,
        exif=model.preprocess.exif,
    )
    return {"teacher": teacher}


def distinct_views(data: Data, options: Distill) -> int | None:
    """How many views of each image there are; None is a new one each time."""
    if options.views == 0:
        return None
    most = options.epochs if augmentation(data, options) is not None else 1
    return min(options.views, most)
