"""Prune: take channels and blocks out of a network, then let it get over the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from compress.stages.stage import Alone, Precision
from compress.training.recovery import Recovery

if TYPE_CHECKING:
    from compress.data.catalogue import Catalogue
    from compress.job import Job
    from compress.models.model import Model

# What may be asked for; exactly one of them is.
BUDGETS = ("ratio", "macs", "params", "size_mb", "latency", "latency_ms")


class Prune(Alone, Recovery):
    """Cut what is missed least, within a budget; the whole network is the teacher."""

    takes: ClassVar[Precision] = "float"
    gives: ClassVar[Precision] = "float"

    ratio: float | None = Field(
        default=None, gt=0, lt=1, description="share of all channels to cut"
    )
    macs: float | None = Field(
        default=None, gt=0, lt=1, description="multiply-accumulates left, as a share"
    )
    params: float | None = Field(
        default=None, gt=0, lt=1, description="parameters left, as a share"
    )
    size_mb: float | None = Field(
        default=None, gt=0, description="weights left, 10^6 bytes of float32"
    )
    latency: float | None = Field(
        default=None, gt=0, lt=1, description="measured latency left, as a share"
    )
    latency_ms: float | None = Field(
        default=None, gt=0, description="latency, measured on the target, ms"
    )
    target: str = Field(
        default="local", description="the device that a latency is measured on"
    )
    criterion: Literal["l1", "l2", "bn", "taylor", "fpgm", "missed", "random"] = Field(
        default="l2",
        description="what a channel is worth: the size of its weights, the scale of "
        "its norm, what the loss would lose, its distance to the others, what later "
        "layers could not make up for (missed: slow, and made for cuts without "
        "training), chance",
    )
    scope: Literal["global", "local", "isomorphic"] = Field(
        default="isomorphic",
        description="layers that are ranked together: all, none, or those alike",
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
    keep: tuple[str, ...] = Field(
        default=(), strict=False, description="layers whose channels stay, by name"
    )
    spare: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of the groups of channels that stay whole, those first that "
        "answers depend on most; by default 0.1 of a lean network such as a MobileNet "
        "(0 beside keep or with criterion missed), and 0 of others",
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

    @model_validator(mode="after")
    def with_one_budget(self) -> Prune:
        """Two budgets would be a riddle, and none no work."""
        named = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(named) != 1:
            found = " and ".join(named) or "none"
            raise ValueError(f"expected one of {', '.join(BUDGETS)}, found {found}")
        return self

    def __call__(
        self, model: Model, data: Catalogue, job: Job, guide: Model | None = None
    ) -> Model:
        """A copy of `model` without what was cut, recovered and trained."""
        from compress.pruning.pruned import pruned

        del guide
        return pruned(model, data, job, self)
