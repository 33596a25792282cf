"""Fine-tuning: ordinary training with cross-entropy on labels."""

from torch import Tensor

from compress.context.context import RunContext
from compress.data.data import Batch
from compress.data.dataset import Catalog
from compress.models.model import Model
from compress.models.stage_result import StageResult
from compress.recipe.finetune import FineTune
from compress.training.fit import fit
from compress.training.losses import classification_loss


def finetune(
    model: Model, data: Catalog, context: RunContext, options: FineTune
) -> StageResult:
    """A copy of `model`, trained with cross-entropy."""

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        return classification_loss(
            logits, batch.labels, label_smoothing=options.label_smoothing
        )

    return StageResult(
        model=fit(model, data.open(model.preprocess), loss, options, context)
    )
