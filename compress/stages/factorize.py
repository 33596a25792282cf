"""Factorize: layers become products of thinner ones where that is measured to gain."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from compress.quantities import OptionalShare
from compress.stages.stage import Alone, Precision
from compress.training.recovery import Recovery

if TYPE_CHECKING:
    from compress.data.catalogue import Catalogue
    from compress.job import Job
    from compress.models.model import Model


class Factorize(Alone, Recovery):
    """Split layers by SVD and Tucker-2, fitted to what they gave on images."""

    takes: ClassVar[Precision] = "float"
    gives: ClassVar[Precision] = "float"

    epochs: int = Field(
        default=0, ge=0, description="passes over the training images; 0 trains nothing"
    )
    energy: OptionalShare = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of the variance of its responses that each layer keeps",
    )
    latency: OptionalShare = Field(
        default=None,
        gt=0,
        lt=1,
        validate_default=True,
        description="instead: share of the network's latency in ONNX Runtime, on the "
        "device that measures",
    )
    layers: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="layers to split, or modules of such, by name; by default all",
    )
    round_to: int = Field(
        default=8, ge=1, description="ranks are multiples of this, as kernels like it"
    )
    calib: str | None = Field(
        default=None,
        description="images to fit to, named as --data is; by default the training "
        "images",
    )
    calib_images: int = Field(
        default=256, ge=1, description="how many of them, every class by its share"
    )

    @field_validator("latency")
    @classmethod
    def beside_no_energy(
        cls, latency: float | None, known: ValidationInfo
    ) -> float | None:
        """One of the two says how far to go."""
        if "energy" in known.data and (latency is None) == (
            known.data["energy"] is None
        ):
            raise ValueError("give either an energy, such as 0.9, or a latency")
        return latency

    def __call__(
        self, model: Model, data: Catalogue, job: Job, guide: Model | None = None
    ) -> Model:
        """A copy of `model` with layers split, its record saying how."""
        from compress.lowrank.factorising import factorised

        del guide
        return factorised(model, data, job, self)
