"""Knowledge distillation: a student learns from labels and from its teacher's answers.

Hinton et al. 2015.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from compress.context.context import RunContext
from compress.data.data import Batch, Data
from compress.data.dataset import Dataset
from compress.models.model import Model
from compress.models.stage_result import StageResult
from compress.recipe.distill import Distill
from compress.training.distillation_loss import answers_of, distillation_loss
from compress.training.fit import Loss, fit
from compress.training.teacher import larger, teacher_for
from compress.training.teacher_cache import Answers
from compress.training.views import augmentation
from runtime.errors import RecipeError

# From logits of student and teacher, [n, classes], and labels [n] to a scalar.
DistillationLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


def distill(  # noqa: PLR0913  # a stage, and what a program may give it
    model: Model,
    data: Dataset,
    context: RunContext,
    options: Distill,
    *,
    teacher: Model | None = None,
    loss: DistillationLoss | None = None,
) -> StageResult:
    """A copy of `model` that minimizes alpha T^2 KL + (1 - alpha) cross-entropy.

    teacher: instead of the one that `options` name; loss: instead of that one.
    """
    if teacher is None:
        teacher = references(model, data, context, options)["teacher"]
    if len(teacher.classes) != len(model.classes):
        raise RecipeError(
            f"{context.title}: the teacher, {teacher.spec.name}, gives "
            f"{len(teacher.classes)} scores and {model.spec.name} gives "
            f"{len(model.classes)}; both need one for each class"
        )
    opened = data.open(larger(model, teacher).preprocess)
    views = distinct_views(opened, options)
    mixed = options.mixup > 0 or options.cutmix > 0
    if views is not None and mixed:
        context.console.tell(
            "teacher: asked every time, since mixed images have no answers on disk"
        )
    kept = None if mixed else views
    if loss is None:
        cost = distillation_loss(
            teacher,
            opened,
            context,
            options,
            share=options.alpha,
            temperature=options.temperature,
            views=kept,
        )
    else:
        cost = by(loss, answers_of(teacher, opened, context, options, views=kept))
    made = fit(model, opened, cost, options, context, views=views)
    return StageResult(model=made, references={"teacher": teacher})


def by(loss: DistillationLoss, answers: Answers) -> Loss:
    """A loss of the user's own, given the teacher's answers."""

    def cost(logits: Tensor, batch: Batch) -> Tensor:
        return loss(logits, answers(batch), batch.labels)

    return cost


def references(
    model: Model, data: Dataset, context: RunContext, options: Distill
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
