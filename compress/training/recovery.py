"""What a network that was made smaller learns from: its former self, and the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from compress.training.options import Training

if TYPE_CHECKING:
    from torch import Tensor

    from compress.data.data import Batch, Data
    from compress.job import Job
    from compress.models.model import Model
    from compress.training.fit import Loss


class Recovery(Training):
    """Training that gives a network back what another step took from it."""

    distill: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="weight of the answers that the network gave before against the "
        "labels",
    )
    temperature: float = Field(
        default=4.0, gt=0, description="softens the answers of both networks"
    )


def recovery_loss(before: Model, data: Data, job: Job, options: Recovery) -> Loss:
    """What a network is trained towards that `before` was made into.

    Few epochs, each of new views: no answer of `before` would be needed a second time,
    so it is asked anew for every batch.
    """
    from compress.training.answers import Asked
    from compress.training.fit import augmentation, training_images
    from compress.training.losses import classification_loss, distillation_loss

    share = options.distill
    asked = Asked(
        teacher=before,
        images=training_images(data),
        augment=augmentation(data, options),
        job=job,
    )
    teacher = asked.online() if share > 0 else None

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        hard = classification_loss(
            logits, batch.labels, label_smoothing=options.label_smoothing
        )
        if teacher is None:
            return hard
        soft = distillation_loss(
            logits, teacher(batch), temperature=options.temperature
        )
        return share * soft + (1 - share) * hard

    return loss
