"""Which units to cut so that a network costs no more than it may.

What a cost is, is none of this file's business: a function from how many units each
group keeps to a number (`Layout.macs`, or a table of latencies on `Layout.layers`).
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from compress.pruning.group import Group
from compress.pruning.layout import Cost
from runtime.errors import RecipeError

Scope = Literal["global", "local", "isomorphic"]

# A layer never loses more than this share: one that is all but gone takes the whole
# network with it, whatever its weights said (layer collapse, Tanaka et al. 2020).
MOST: Final = 0.9
# Halvings of the threshold's interval; below 2^-20 no unit lies between two thresholds.
_HALVINGS: Final = 20


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What every unit is worth, and which numbers of them a group may keep.

    scores: [units] of every group; pools: groups, by place, whose units are ranked
    together; allowed: numbers of units, ascending, the last one is all of them.
    """

    scores: Sequence[Tensor]
    pools: Sequence[Sequence[int]]
    allowed: Sequence[Sequence[int]]

    def kept(self, share: float) -> list[int]:
        """Units that stay if in each pool the lowest `share` of them goes, rounded."""
        kept = [0] * len(self.scores)
        for pool in self.pools:
            ordered = torch.cat([self.scores[index] for index in pool]).sort().values
            gone = round(share * len(ordered))
            threshold = float(ordered[gone - 1]) if gone else -math.inf
            for index in pool:
                above = int((self.scores[index] > threshold).sum())
                kept[index] = min(
                    self.allowed[index], key=lambda n: (abs(n - above), -n)
                )
        return kept

    def by_price(self, cost: Cost) -> "Ranking":
        """The same units, all in one pool, by what they are worth for what they cost.

        Only for scores that mean the same in every layer.
        """
        full = [allowed[-1] for allowed in self.allowed]
        whole = cost(full)
        scores = []
        for index, values in enumerate(self.scores):
            fewer = [*full]
            fewer[index] = self.allowed[index][0]
            saved = (whole - cost(fewer)) / max(1, full[index] - fewer[index])
            scores.append(values / max(saved, 1e-30))
        pools = [list(range(len(scores)))]
        return Ranking(scores=scores, pools=pools, allowed=self.allowed)

    def within(self, cost: Cost, most: float, *, unit: str = "") -> list[int]:
        """Units that stay so that `cost` is `most`, in `unit`, at the most.

        The thresholds of all pools rise together until it is; then groups are given
        back what still fits, the dearest units first. Raises RecipeError that says the
        closest that can be reached.
        """
        least = [allowed[0] for allowed in self.allowed]
        if (floor := cost(least)) > most:
            full = cost([allowed[-1] for allowed in self.allowed])
            raise beyond_reach(most, floor, full, unit=unit)
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            share = (low + high) / 2
            if cost(self.kept(share)) > most:
                low = share
            else:
                high = share
        return self._given_back(self.kept(high) if high < 1 else least, cost, most)

    def _given_back(self, kept: list[int], cost: Cost, most: float) -> list[int]:
        """`kept`, and the units that the rounding took without need."""
        waiting = set(range(len(kept)))
        while wider := {
            index: next(n for n in self.allowed[index] if n > kept[index])
            for index in waiting
            if kept[index] < self.allowed[index][-1]
        }:
            best = max(wider, key=lambda i: self._worth(i, kept[i], wider[i]))
            trial = [*kept]
            trial[best] = wider[best]
            if cost(trial) <= most:
                kept = trial
            else:
                waiting.remove(best)
        return kept

    def _worth(self, index: int, kept: int, wider: int) -> float:
        """What the next units of a group are worth, on average."""
        ordered = self.scores[index].sort(descending=True).values
        return float(ordered[kept:wider].mean())


def beyond_reach(most: float, floor: float, full: float, *, unit: str) -> RecipeError:
    """What to say of a budget below what any cut leaves."""
    return RecipeError(
        f"prune: a budget of {most:,.0f}{unit} cannot be met: the closest that can be "
        f"reached is {floor:,.0f}{unit} of {full:,.0f}, with every layer that may be "
        "cut at its least width; spare fewer layers, round to a smaller multiple, "
        "remove blocks, or choose a smaller network"
    )


def allowed_units(group: Group, *, round_to: int) -> tuple[int, ...]:
    """Numbers of units, ascending, that leave a multiple of `round_to` channels."""
    step = round_to // math.gcd(round_to, group.unit_channels)
    least = max(1, math.ceil(group.units * (1 - MOST)))
    few = range(step * math.ceil(least / step), group.units, step)
    return (*few, group.units)


def least_missed(scores: Tensor, kept: int) -> list[int]:
    """The units that go when `kept` of them stay."""
    order = scores.argsort(stable=True)
    return sorted(order[: len(scores) - kept].tolist())


def pools_of(net: nn.Module, groups: Sequence[Group], scope: Scope) -> list[list[int]]:
    """Which groups are ranked together, by their place.

    global: all; local: none; isomorphic: those of the same kinds of layers in the same
    order, since scores compare only between like and like (Fang et al. 2024).
    """
    if scope == "global":
        return [list(range(len(groups)))]
    pools: dict[object, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        kinds = tuple(
            (
                side,
                None if name in group.axis else type(net.get_submodule(name)).__name__,
            )
            for name, side in group.places
        )
        pools[index if scope == "local" else kinds].append(index)
    return list(pools.values())
