"""Fine-tuning: ordinary training with cross-entropy on labels."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from compress.context.context import RunContext
from compress.data.data import Batch
from compress.data.dataset import Dataset
from compress.models.model import Model
from compress.models.stage_result import StageResult
from compress.recipe.finetune import FineTune
from compress.training.fit import fit
from compress.training.losses import classification_loss


def finetune(
    model: Model,
    data: Dataset,
    context: RunContext,
    options: FineTune,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> StageResult:
    """A copy of `model`, trained with cross-entropy.

    loss: instead of it, from logits [n, classes] and labels [n] to a scalar.
    """
    chosen = loss or partial(
        classification_loss, label_smoothing=options.label_smoothing
    )

    def cost(logits: Tensor, batch: Batch) -> Tensor:
        return chosen(logits, batch.labels)

    return StageResult(
        model=fit(model, data.open(model.preprocess), cost, options, context)
    )
