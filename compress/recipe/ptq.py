"""PTQ: post-training quantization to INT8, from a few hundred calibration images."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from compress.recipe.quantities import OptionalShare
from compress.recipe.stage import Alone, Precision

if TYPE_CHECKING:
    from compress.context.context import RunContext
    from compress.data.dataset import Catalog
    from compress.models.model import Model


class Ptq(Alone, BaseModel):
    """Round weights to int8 and activations to grids measured on images."""

    takes: ClassVar[Precision] = "float"
    gives: ClassVar[Precision] = "int8"

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )

    calib: str | None = Field(
        default=None,
        description="images to calibrate on, named as --data is; by default the "
        "training images",
    )
    calib_images: int = Field(
        default=256, ge=1, description="how many of them, every class by its share"
    )
    ranges: Literal["output", "mean", "minmax", "percentile", "mse", "entropy"] = Field(
        default="output",
        description="how the range of a tensor is chosen: by its effect on the output "
        "of the network, or by an estimator that looks at the tensor alone",
    )
    equalize: bool = Field(
        default=True, description="stretch channels to one range (Nagel et al. 2019)"
    )
    correct_bias: Literal["none", "weights", "all"] = Field(
        default="weights",
        description="biases make up for the mean shift that comes of rounded weights, "
        "or of rounded and cut activations as well",
    )
    learn_rounding: bool = Field(
        default=False,
        description="round weights so that the error of sums is least, not their own",
    )
    accuracy_drop: OptionalShare = Field(
        default=None,
        ge=0,
        lt=1,
        description="call the doctor: try harder until no more than this share of "
        "held-out images is lost",
    )
    flips: OptionalShare = Field(
        default=None,
        ge=0,
        lt=1,
        description="call the doctor: try harder until no more than this share of "
        "held-out answers changes; with --accuracy-drop both have to hold",
    )

    def __call__(
        self,
        model: Model,
        data: Catalog,
        context: RunContext,
        guide: Model | None = None,
    ) -> Model:
        """A copy of `model` whose network computes as INT8 kernels do."""
        from compress.quantization.post_training import post_training

        del guide
        return post_training(model, data, context, self)
