"""Distil: a student learns from labels and from what its teacher thinks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, Field

from compress.models.spec import ModelSpec, from_name
from compress.recipe.finetune import FineTune
from compress.recipe.quantities import Share
from compress.recipe.stage import Precision
from compress.recipe.training import Training

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from compress.context.context import RunContext
    from compress.data.data import Batch, Data
    from compress.data.dataset import Catalog
    from compress.models.model import Model
    from compress.recipe.stage import Stage
    from compress.training.teacher_cache import Answers


class Distill(Training):
    """Learn from a teacher's soft answers (Hinton et al. 2015)."""

    takes: ClassVar[Precision] = "float"
    gives: ClassVar[Precision] = "float"

    # A student needs more passes than its teacher: what it is told is cheap to look up.
    epochs: int = Field(default=20, ge=1, description="passes over the training images")
    teacher: Annotated[ModelSpec, BeforeValidator(from_name)] = Field(
        description="architecture, run directory or checkpoint to learn from"
    )
    teacher_epochs: int | None = Field(
        default=None,
        ge=0,
        description="epochs of fine-tuning the teacher first; 0 never, by default only "
        "where it has no weights for this data",
    )
    temperature: float = Field(
        default=4.0, gt=0, description="softens the answers of teacher and student"
    )
    alpha: Share = Field(
        default=0.7, ge=0, le=1, description="weight of the teacher against the labels"
    )
    views: int = Field(
        default=4,
        ge=0,
        description="augmentations of each image whose answers are kept and cycled "
        "over the epochs; 0 asks the teacher anew every time",
    )
    baseline: bool = Field(
        default=False, description="also train the same student alone, to compare"
    )

    def guide(self, model: Model, data: Catalog, context: RunContext) -> Model:
        """The teacher, fine-tuned for `data` where it has to be."""
        from compress.training.teacher import teacher_for

        return teacher_for(
            self.teacher,
            data,
            context,
            epochs=self.teacher_epochs,
            exif=model.preprocess.exif,
        )

    def __call__(
        self,
        model: Model,
        data: Catalog,
        context: RunContext,
        guide: Model | None = None,
    ) -> Model:
        """A copy of `model` that minimizes alpha T^2 KL + (1 - alpha) cross-entropy."""
        from compress.training.fit import fit
        from compress.training.losses import classification_loss, soft_target_loss
        from compress.training.teacher import larger

        teacher = self.guide(model, data, context) if guide is None else guide
        opened = data.open(larger(model, teacher).preprocess)
        answers = self.answers(teacher, opened, context)

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            soft = soft_target_loss(
                logits, answers(batch), temperature=self.temperature
            )
            hard = classification_loss(
                logits, batch.labels, label_smoothing=self.label_smoothing
            )
            return self.alpha * soft + (1 - self.alpha) * hard

        return fit(
            model,
            opened,
            loss,
            self,
            context,
            views=self.distinct_views(opened),
        )

    def distinct_views(self, data: Data) -> int | None:
        """How many views of each image there are; None is a new one each time."""
        from compress.training.views import augmentation

        if self.views == 0:
            return None
        most = self.epochs if augmentation(data, self) is not None else 1
        return min(self.views, most)

    def answers(self, teacher: Model, data: Data, context: RunContext) -> Answers:
        """What the teacher says of a batch: looked up, or asked anew."""
        from compress.training.teacher_cache import TeacherAnswers
        from compress.training.views import augmentation, training_images

        asked = TeacherAnswers(
            teacher=teacher,
            images=training_images(data),
            augment=augmentation(data, self),
            context=context,
        )
        views = self.distinct_views(data)
        if views is None:
            return asked.online()
        if self.mixup or self.cutmix:
            context.console.tell(
                "teacher: asked every time, since mixed images have no answers on disk"
            )
            return asked.online()
        return asked.kept(views)

    def rivals(self) -> Mapping[str, Stage]:
        """The same student trained alone, with the same budget."""
        if not self.baseline:
            return {}
        return {
            "alone": FineTune(**self.model_dump(include=set(Training.model_fields)))
        }
