"""Sparsify: weights become zero, in any place or in a pattern, and stay so."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from compress.recipe.quantities import OptionalShare, Share
from compress.recipe.recovery import Recovery
from compress.recipe.stage import Alone, Precision

if TYPE_CHECKING:
    from compress.context.context import RunContext
    from compress.data.dataset import Catalog
    from compress.models.model import Model


class Sparsify(Alone, Recovery):
    """Set the smallest weights to zero, with the dense network as teacher."""

    takes: ClassVar[Precision] = "float"
    gives: ClassVar[Precision] = "float"

    epochs: int = Field(
        default=5, ge=0, description="passes over the training images; 0 trains nothing"
    )
    sparsity: OptionalShare = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of the weights of convolutions and linear layers to go",
    )
    pattern: Literal["2:4", "4:8"] | None = Field(
        default=None,
        validate_default=True,
        description="instead: so many of these neighboring input channels stay",
    )
    thinning: Literal["one-shot", "cubic"] = Field(
        default="cubic",
        description="all at once before the training, or ever slower during it",
    )
    thin_until: Share = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="share of the training after which the last weights are gone",
    )
    scope: Literal["global", "layer"] = Field(
        default="global",
        description="the smallest weights of the network, or of each layer",
    )
    block: int = Field(
        default=1,
        ge=1,
        description="neighboring outputs whose weights stay or go together",
    )
    exclude: tuple[str, ...] = Field(
        default=(), strict=False, description="layers that stay dense, by name"
    )

    @field_validator("pattern")
    @classmethod
    def beside_no_sparsity(
        cls, pattern: str | None, known: ValidationInfo
    ) -> str | None:
        """One of the two says how many zeros there are."""
        if "sparsity" in known.data and (pattern is None) == (
            known.data["sparsity"] is None
        ):
            raise ValueError(
                "give either a sparsity, such as 0.8, or a pattern, such as 2:4"
            )
        return pattern

    def __call__(
        self,
        model: Model,
        data: Catalog,
        context: RunContext,
        guide: Model | None = None,
    ) -> Model:
        """A copy of `model` with zeros that every later stage keeps."""
        from compress.sparsity.sparsification import sparsified

        del guide
        return sparsified(model, data, context, self)
