"""PTQ: post-training quantization to INT8, from a few hundred calibration images."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from compress.models.spec import Precision
from compress.recipe.quantities import OptionalShare


class Ptq(BaseModel):
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
