"""What the options of every stage say of it, and which orders of stages fit."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Protocol

from compress.models.spec import CALLED, Precision

if TYPE_CHECKING:
    from collections.abc import Sequence


class Stage(Protocol):
    """A frozen pydantic record of hyper-parameters; who does the work is not said here.

    `takes` and `gives` are what network it is for and what it makes of it: an order
    that does not fit is refused before any work (`misplaced`).
    """

    takes: ClassVar[Precision]
    gives: ClassVar[Precision]


def misplaced(steps: Sequence[tuple[str, Stage]]) -> tuple[int, str] | None:
    """The first stage that cannot take what the one before it gives, and why.

    As its place in the recipe and the rest of a sentence; None where all fit. What the
    first one is given is the model's affair (`compress.pipeline.start`).
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
