"""QAT: train a network on its INT8 grids, so that it learns to live with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compress.recipe.quantities import Share
from compress.recipe.stage import Alone, Precision
from compress.recipe.training import Training

if TYPE_CHECKING:
    from compress.context.context import RunContext
    from compress.data.dataset import Catalog
    from compress.models.model import Model


class Qat(Alone, Training):
    """Train what integer kernels will compute, with the float network as teacher."""

    takes: ClassVar[Precision] = "float"
    gives: ClassVar[Precision] = "int8"

    # The network is trained already; it only has to get used to its grids.
    epochs: int = Field(default=3, ge=1, description="passes over the training images")
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="peak rate; by default a tenth of what suits tuning the family",
    )
    calib_images: int = Field(
        default=256, ge=1, description="training images that the first ranges come from"
    )
    distill: Share = Field(
        default=1.0,
        ge=0,
        le=1,
        description="weight of the float network's answers against the labels",
    )
    temperature: float = Field(
        default=1.0, gt=0, description="softens the answers of both networks"
    )
    # A trained network gains nothing from new statistics, and the noise of those of a
    # batch costs it (Nagel et al. 2021, section 4.2.1): MobileNetV3's answers, 0.005
    # away from its float self at the first step, are 0.6 away where it gathers them.
    freeze_batchnorm_after: Share = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the training in which statistics for batch normalization "
        "are gathered, before it is folded with them for good",
    )
    freeze_observers_after: Share = Field(
        default=0.75,
        ge=0,
        le=1,
        description="share of the training after which the ranges of tensors stay",
    )
    lsq: bool = Field(
        default=False, description="learn the scales as well (Esser et al. 2020)"
    )

    def __call__(
        self,
        model: Model,
        data: Catalog,
        context: RunContext,
        guide: Model | None = None,
    ) -> Model:
        """A copy of `model` whose network computes as INT8 kernels do, trained so."""
        from compress.quantization.qat_training import quantization_aware_training

        del guide
        return quantization_aware_training(model, data, context, self)
