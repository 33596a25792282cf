"""Widths for a latency: time is saved where that costs least importance."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from compress.pruning.layout import Kept, Layer, Layout
from runtime.errors import RecipeError

# A layer keeps at least this share of its units: the sum of what layers lose says
# little once one of them has lost nearly all.
LEAST: Final = 0.25

# Costs below this are none; it only keeps from dividing by zero.
_FREE: Final = 1e-12

LayerCost = Callable[[Layer], float]


def traded(  # noqa: PLR0913  # what is cut, by what measure, how far
    layout: Layout,
    scores: Sequence[Tensor],
    cost: LayerCost,
    *,
    most: float,
    allowed: Sequence[Sequence[int]],
    unit: str,
    spent: Callable[[Kept], float] | None = None,
) -> list[int]:
    """How many units each group keeps so that the layers cost `most` at the most.

    Step by step, the group and the width go next that give up least importance for
    what they save; what the last step saved in excess is given back likewise. What a
    group loses is -log of the share of its `scores` that stays, once for every layer
    whose outputs it is: nothing while all of it is there, without bound as it empties,
    so that no layer is starved to spare another. `cost` of a layer may be a staircase:
    a step is as wide as pays best. `spent`, of the widths, is what `most` limits where
    that is not the cost itself. Raises RecipeError, in `unit`, if even `LEAST` of every
    group cost more.
    """
    search = _Search(layout, scores, cost, allowed, spent)
    whole = search.total()
    what = "a latency" if spent is None else "a budget"
    while search.total() > most:
        if not search.step():
            raise RecipeError(
                f"prune: {what} of {most:,.3g}{unit} cannot be met: the closest "
                f"that can be reached is {search.total():,.3g}{unit} of "
                f"{whole:,.3g}{unit}, with {LEAST:.0%} of every layer that may be cut; "
                "spare fewer layers, remove blocks, or choose a smaller network"
            )
    while search.step_back(most):
        pass
    return search.kept


class _Search:
    """Widths on their way down, and the next step of every group."""

    def __init__(
        self,
        layout: Layout,
        scores: Sequence[Tensor],
        cost: LayerCost,
        allowed: Sequence[Sequence[int]],
        spent: Callable[[Kept], float] | None = None,
    ) -> None:
        self.layout, self.cost, self.allowed = layout, cost, allowed
        self.spent = spent
        self.kept = list(layout.full)
        self.losses = [
            made * _losses(each)
            for made, each in zip(_makers(layout), scores, strict=True)
        ]
        self.touched = [_touched(layout, index) for index in range(len(self.kept))]
        self.known: dict[Layer, float] = {}
        self.costs = [self.priced(layer) for layer in layout.layers(self.kept)]
        self.next = [self.best(index) for index in range(len(self.kept))]

    def total(self) -> float:
        """What is spent at the present widths: what all layers cost, or else."""
        return sum(self.costs) if self.spent is None else self.spent(self.kept)

    def fits(self, index: int, units: int, cost: float, most: float) -> bool:
        """Whether a group may have so many units, which add `cost`, within `most`."""
        if self.spent is None:
            return cost <= most - self.total()
        return self.spent([*self.kept[:index], units, *self.kept[index + 1 :]]) <= most

    def priced(self, layer: Layer) -> float:
        """`cost`, asked once of equal layers."""
        if layer not in self.known:
            self.known[layer] = self.cost(layer)
        return self.known[layer]

    def around(self, index: int, kept: Kept) -> dict[int, float]:
        """What the layers of one group would cost, by their place."""
        whole = self.layout.whole
        return {
            place: self.priced(self.layout.at(whole[place], kept))
            for place in self.touched[index]
        }

    def moves(
        self, index: int, units: Iterable[int]
    ) -> Iterator[tuple[float, float, int]]:
        """What each number of units would add to the cost, and to what is lost."""
        before = sum(self.costs[place] for place in self.touched[index])
        loss = self.losses[index]
        for each in units:
            trial = [*self.kept]
            trial[index] = each
            cost = sum(self.around(index, trial).values()) - before
            yield cost, float(loss[each] - loss[self.kept[index]]), each

    def best(self, index: int) -> tuple[float, int] | None:
        """Importance lost per cost saved, and the width that loses least of it."""
        least, now = LEAST * self.layout.full[index], self.kept[index]
        narrower = [each for each in self.allowed[index] if least <= each < now]
        found = [
            (lost / -cost, units)
            for cost, lost, units in self.moves(index, narrower)
            if cost < 0
        ]
        return min(found, default=None)

    def step(self) -> bool:
        """Take the best step there is; False if there is none."""
        steps = [(each, i) for i, each in enumerate(self.next) if each is not None]
        if not steps:
            return False
        (_, units), index = min(steps)
        self.move(index, units)
        for other, places in enumerate(self.touched):
            if not places.isdisjoint(self.touched[index]):
                self.next[other] = self.best(other)
        return True

    def step_back(self, most: float) -> bool:
        """Give units back where that regains most per cost; False if none fit."""
        found = sorted(
            (lost / max(cost, _FREE), units, index, cost)
            for index, now in enumerate(self.kept)
            for cost, lost, units in self.moves(
                index, [each for each in self.allowed[index] if each > now]
            )
        )
        for _, units, index, cost in found:
            if self.fits(index, units, cost, most):
                self.move(index, units)
                return True
        return False

    def move(self, index: int, units: int) -> None:
        """Let a group keep so many units."""
        self.kept[index] = units
        for place, cost in self.around(index, self.kept).items():
            self.costs[place] = cost


def _losses(scores: Tensor) -> npt.NDArray[np.float64]:
    """What is lost when only the best n units stay, for n from 0 to all of them."""
    best = np.sort(scores.numpy().astype(np.float64))[::-1].clip(min=0)
    # A unit without any weight is still worth a little, or it would go for nothing.
    worth = best + 1e-6 * max(float(best.mean()), 1e-30)
    left = np.concatenate([[0.0], np.cumsum(worth)])
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(left / left[-1]), np.float64)


def _makers(layout: Layout) -> list[int]:
    """Of every group, the layers that mix channels into its units."""
    mixing = {layer.name for layer in layout.whole if layer.groups == 1}
    return [
        max(1, sum(side == "out" and name in mixing for name, side in group.places))
        for group in layout.groups
    ]


def _touched(layout: Layout, index: int) -> frozenset[int]:
    """Places of the layers that change with a group."""
    trial = list(layout.full)
    trial[index] = math.ceil(trial[index] / 2)
    return frozenset(
        place
        for place, (one, other) in enumerate(
            zip(layout.layers(layout.full), layout.layers(trial), strict=True)
        )
        if one != other
    )
