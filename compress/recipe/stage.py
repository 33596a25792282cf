"""What every stage is: hyper-parameters as fields, one verb as the work."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from compress.context.context import RunContext
    from compress.data.dataset import Catalog
    from compress.models.model import Model

# What the numbers of a network are: learnt in float, or rounded for integer kernels.
Precision = Literal["float", "int8"]
CALLED: Final[dict[Precision, str]] = {
    "float": "a float network",
    "int8": "an INT8 network",
}


class Stage(Protocol):
    """A frozen pydantic record of hyper-parameters that turns a model into another.

    A stage returns a model and nothing else: the runner measures. Heavy libraries are
    imported inside its methods, so that a recipe is checked before any of them loads.
    `takes` and `gives` are what network it is for and what it makes of it: an order
    that does not fit is refused before any work (`misplaced`).
    """

    takes: ClassVar[Precision]
    gives: ClassVar[Precision]

    def guide(self, model: Model, data: Catalog, context: RunContext) -> Model | None:
        """The model that `model` will learn from, ready; None where there is none."""
        ...

    def __call__(
        self, model: Model, data: Catalog, context: RunContext, guide: Model | None
    ) -> Model:
        """The work; `model`, `data` and `guide` are left as they are."""
        ...

    def rivals(self) -> Mapping[str, Stage]:
        """Other ways to spend the same effort on the same model, to compare with."""
        ...


class Alone:
    """A stage that has no model to learn from but its own, and no rival."""

    def guide(self, model: Model, data: Catalog, context: RunContext) -> None:
        """None: what there is to learn from has its row already."""
        del model, data, context

    def rivals(self) -> Mapping[str, Stage]:
        """None."""
        return {}


def misplaced(steps: Sequence[tuple[str, Stage]]) -> tuple[int, str] | None:
    """The first stage that cannot take what the one before it gives, and why.

    As its place in the recipe and the rest of a sentence; None where all fit. What the
    first one is given is the model's affair (`compress.models.opening`).
    """
    for place, ((before, giver), (name, stage)) in enumerate(pairwise(steps), start=1):
        if giver.gives == stage.takes:
            continue
        remedy = f"put {name} before {before}"
        if stage.gives == giver.gives:
            remedy = "one of the two is enough, leave the other out"
        reason = (
            f"takes {CALLED[stage.takes]}, and stages.{place - 1}.{before} before it "
            f"gives {CALLED[giver.gives]}; {remedy}"
        )
        return place, reason
    return None
