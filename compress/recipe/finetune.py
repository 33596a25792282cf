"""Fine-tune: ordinary training on labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compress.recipe.stage import Alone, Precision
from compress.recipe.training import Training

if TYPE_CHECKING:
    from torch import Tensor

    from compress.context.context import RunContext
    from compress.data.data import Batch
    from compress.data.dataset import Catalog
    from compress.models.model import Model


class FineTune(Alone, Training):
    """Train on the labels alone."""

    takes: ClassVar[Precision] = "float"
    gives: ClassVar[Precision] = "float"

    epochs: int = Field(default=10, ge=1, description="passes over the training images")

    def __call__(
        self,
        model: Model,
        data: Catalog,
        context: RunContext,
        guide: Model | None = None,
    ) -> Model:
        """A copy of `model`, trained with cross-entropy."""
        from compress.training.fit import fit
        from compress.training.losses import classification_loss

        del guide

        def loss(logits: Tensor, batch: Batch) -> Tensor:
            return classification_loss(
                logits, batch.labels, label_smoothing=self.label_smoothing
            )

        opened = data.open(model.preprocess)
        return fit(model, opened, loss, self, context)
