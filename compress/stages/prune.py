"""Prune: take channels and blocks out of a network, then let it get over the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from compress.training.options import Training

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compress.data.catalogue import Catalogue
    from compress.job import Job
    from compress.models.model import Model
    from compress.stages.stage import Stage

# What may be asked for; exactly one of them is.
BUDGETS = ("ratio", "macs", "params", "size_mb", "latency", "latency_ms")


class Prune(Training):
    """Cut what is missed least, within a budget; the whole network is the teacher."""

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
    calib: str | None = Field(
        default=None,
        description="images to recover on, named as --data is; by default the "
        "training images",
    )
    calib_images: int = Field(default=256, ge=1, description="how many of them")
    epochs: int = Field(
        default=5, ge=0, description="epochs of training after the last cut; 0: none"
    )
    distill: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="weight of the whole network's answers against the labels",
    )
    temperature: float = Field(
        default=4.0, gt=0, description="softens the answers of both networks"
    )

    @model_validator(mode="after")
    def with_one_budget(self) -> Prune:
        """Two budgets would be a riddle, and none no work."""
        named = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(named) != 1:
            found = " and ".join(named) or "none"
            raise ValueError(f"expected one of {', '.join(BUDGETS)}, found {found}")
        return self

    def guide(self, model: Model, data: Catalogue, job: Job) -> None:
        """The whole network is the teacher, and has its row already."""
        del model, data, job

    def __call__(
        self, model: Model, data: Catalogue, job: Job, guide: Model | None = None
    ) -> Model:
        """A copy of `model` without what was cut, recovered and trained."""
        from compress.pruning.pruned import pruned

        del guide
        return pruned(model, data, job, self)

    def rivals(self) -> Mapping[str, Stage]:
        """None."""
        return {}
