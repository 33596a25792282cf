"""A loss of two voices: what an earlier self of the network says, and the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.training.losses import classification_loss, soft_target_loss
from compress.training.teacher_cache import TeacherAnswers
from compress.training.views import augmentation, training_images

if TYPE_CHECKING:
    from torch import Tensor

    from compress.context.context import RunContext
    from compress.data.data import Batch, Data
    from compress.models.model import Model
    from compress.recipe.training import Training
    from compress.training.fit import Loss


def taught(  # noqa: PLR0913  # who teaches, on what, and how much it counts
    teacher: Model,
    data: Data,
    context: RunContext,
    options: Training,
    *,
    share: float,
    temperature: float,
    views: int | None = None,
) -> Loss:
    """Give share T^2 KL(teacher, student) + (1 - share) cross-entropy with the labels.

    With `views`, which `fit` is to be given as well, the teacher's answers to so many
    augmentations are kept on disk; without, it is asked anew for every batch. At a
    share of 0 it is not asked at all; at one of 1 no label is looked at, which may then
    be of other classes than the network's.
    """
    asked = TeacherAnswers(
        teacher=teacher,
        images=training_images(data),
        augment=augmentation(data, options),
        context=context,
    )
    if share == 0:
        answers = None
    else:
        answers = asked.online() if views is None else asked.kept(views)

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        if answers is None or share < 1:
            hard = classification_loss(
                logits, batch.labels, label_smoothing=options.label_smoothing
            )
        if answers is None:
            return hard
        soft = soft_target_loss(logits, answers(batch), temperature=temperature)
        return soft if share == 1 else share * soft + (1 - share) * hard

    return loss
