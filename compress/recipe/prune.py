"""Prune: take channels and blocks out of a network, then let it get over the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from compress.recipe.quantities import (
    OptionalShare,
    OptionalShareOrCount,
    OptionalSizeMb,
    OptionalTimeMs,
)
from compress.recipe.recovery import Recovery
from compress.recipe.stage import Alone, Precision

if TYPE_CHECKING:
    from compress.context.context import RunContext
    from compress.data.dataset import Catalog
    from compress.models.model import Model

# What may be asked for; exactly one of them is.
BUDGETS = ("ratio", "macs", "params", "size_mb", "latency", "latency_ms")
# From here on a number of MACs or parameters is a count; below 1 it is a share, and
# what lies between is a percentage that lacks its sign.
LEAST_COUNT = 1000


class Prune(Alone, Recovery):
    """Cut what is missed least, within a budget; the whole network is the teacher."""

    takes: ClassVar[Precision] = "float"
    gives: ClassVar[Precision] = "float"

    ratio: OptionalShare = Field(
        default=None, gt=0, lt=1, description="share of all channels to cut"
    )
    macs: OptionalShareOrCount = Field(
        default=None,
        gt=0,
        description="multiply-accumulates left: a share (0.5, 50%) or so many (300M)",
    )
    params: OptionalShareOrCount = Field(
        default=None,
        gt=0,
        description="parameters left: a share (0.5, 50%) or so many (1.5M)",
    )
    size_mb: OptionalSizeMb = Field(
        default=None,
        gt=0,
        description="weights left in float32: 10^6 bytes, or such as 2MB, 500kB",
    )
    latency: OptionalShare = Field(
        default=None, gt=0, lt=1, description="measured latency left, as a share"
    )
    latency_ms: OptionalTimeMs = Field(
        default=None,
        gt=0,
        description="latency, measured on the target: ms, or such as 15ms, 1.5s",
    )
    target: str = Field(
        default="local", description="the device that a latency is measured on"
    )
    criterion: Literal[
        "l1", "l2", "bn", "taylor", "fpgm", "reconstruction", "random"
    ] = Field(
        default="l2",
        description="what a channel is worth: the size of its weights, the scale of "
        "its norm, what the loss would lose, its distance to the others, what later "
        "layers could not make up for (reconstruction: slow, and made for cuts without "
        "training), chance",
    )
    scope: Literal["global", "local", "isomorphic"] = Field(
        default="isomorphic",
        description="layers that are ranked together: all, none, or those alike",
    )
    widths: Literal["kernels", "scores"] = Field(
        default="scores",
        description="what decides under a budget of MACs which layers give how much: "
        "scores alone, as scope ranks them, or also what their kernels would save: "
        "fewer MACs are less time then, and more is lost (not with a scope of its own, "
        "nor with criterion reconstruction)",
    )
    round_to: int = Field(
        default=8, ge=1, le=256, description="channels left are a multiple of this"
    )
    sparse_epochs: int = Field(
        default=0,
        ge=0,
        description="epochs before the first cut in which channels that can go fade",
    )
    sparse_penalty: float = Field(
        default=1e-4,
        gt=0,
        description="what they are pressed with: on each channel's norm over all "
        "layers, or with criterion bn on the scales of batch norms",
    )
    steps: int = Field(
        default=1, ge=1, le=100, description="cuts, each followed by recovery"
    )
    step_epochs: int = Field(
        default=1, ge=0, description="epochs of training between two cuts"
    )
    blocks: int = Field(
        default=0, ge=0, description="whole residual blocks to remove before the cut"
    )
    recover: Literal["none", "bn", "lstsq"] = Field(
        default="lstsq",
        description="after each cut, without training: nothing, batch norms "
        "re-estimated, or weights fitted to the whole network's outputs",
    )
    exclude: tuple[str, ...] = Field(
        default=(), strict=False, description="layers whose channels stay, by name"
    )
    protect: OptionalShare = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of the groups of channels that stay whole, those first that "
        "answers depend on most; by default 0.1 of a lean network such as a MobileNet "
        "(0 beside exclude or with criterion reconstruction), and 0 of others",
    )
    calib: str | None = Field(
        default=None,
        description="images to recover on, named as --data is; by default the "
        "training images",
    )
    calib_images: int = Field(default=256, ge=1, description="how many of them")
    epochs: int = Field(
        default=5, ge=0, description="epochs of training after the last cut; 0: none"
    )

    @field_validator("macs", "params")
    @classmethod
    def a_share_or_a_count(cls, given: float | None) -> float | None:
        """Tell half of them from 300 million; anything between is neither."""
        if given is not None and 1 <= given < LEAST_COUNT:
            raise ValueError(
                "should be a share below 1, such as 0.5 or 50%, or so many from "
                f"{LEAST_COUNT} on, such as 300M"
            )
        return given

    @model_validator(mode="after")
    def with_one_budget(self) -> Prune:
        """Two budgets would be a riddle, and none no work."""
        named = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(named) != 1:
            found = " and ".join(named) or "none"
            raise ValueError(f"expected one of {', '.join(BUDGETS)}, found {found}")
        return self

    def follows_kernels(self) -> bool:
        """Whether widths are a trade of kernels' time against scores."""
        ranked = "scope" in self.model_fields_set or self.criterion == "reconstruction"
        return self.macs is not None and self.widths == "kernels" and not ranked

    def __call__(
        self,
        model: Model,
        data: Catalog,
        context: RunContext,
        guide: Model | None = None,
    ) -> Model:
        """A copy of `model` without what was cut, recovered and trained."""
        from compress.pruning.iterative import pruned

        del guide
        return pruned(model, data, context, self)
