"""Which units to cut so that a network costs no more than it may.

What a cost is, is none of this file's business: a function from how many units each
group keeps to a number (`Layout.macs`, or a table of latencies).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from compress.pruning.group import Group
from compress.pruning.layout import Kept, Layout
from runtime.errors import RecipeError

Scope = Literal["global", "local", "isomorphic"]
Cost = Callable[[Kept], float]

# A layer never loses more than this share: one that is all but gone takes the whole
# network with it, whatever its weights said (layer collapse, Tanaka et al. 2020).
MOST: Final = 0.9
# Halvings of the threshold's interval; below 2^-20 no unit lies between two thresholds.
_HALVINGS: Final = 20


@dataclass(frozen=True, kw_only=True)
class Widths:
    """How many units each group may keep, ascending: the last one is all of them."""

    allowed: tuple[tuple[int, ...], ...]

    def nearest(self, index: int, units: float) -> int:
        """The allowed number nearest to `units`; of two, the larger."""
        return min(self.allowed[index], key=lambda n: (abs(n - units), -n))

    def wider(self, index: int, units: int) -> int | None:
        """The next allowed number above `units`; None at the end."""
        return next((n for n in self.allowed[index] if n > units), None)


def widths_of(layout: Layout, *, round_to: int) -> Widths:
    """Numbers of units that leave a multiple of `round_to` channels."""
    allowed = []
    for full, unit in zip(layout.full, layout.unit, strict=True):
        step = round_to // math.gcd(round_to, unit)
        least = max(1, math.ceil(full * (1 - MOST)))
        few = range(step * math.ceil(least / step), full, step)
        allowed.append((*few, full))
    return Widths(allowed=tuple(allowed))


def fitted(  # noqa: PLR0913  # what is cut, by what measure, how far, how
    layout: Layout,
    scores: Sequence[Tensor],
    cost: Cost,
    *,
    most: float,
    net: nn.Module,
    scope: Scope = "global",
    round_to: int = 8,
    unit: str = "",
) -> list[int]:
    """How many units each group keeps so that `cost` is `most` at the most.

    The thresholds of all pools rise together until the cost is met; then groups are
    given back what still fits, the dearest units first. Raises RecipeError that says
    the closest that can be reached.
    """
    widths = widths_of(layout, round_to=round_to)
    pools = _pools(net, layout.groups, scope)
    least = [allowed[0] for allowed in widths.allowed]
    if (floor := cost(least)) > most:
        raise RecipeError(
            f"prune: a budget of {most:,.4g}{unit} cannot be met: the closest that can "
            f"be reached is {floor:,.4g}{unit} of {cost(layout.full):,.4g}{unit}, with "
            "every layer that may be cut at its least width; spare fewer layers, round "
            "to a smaller multiple, remove blocks, or choose a smaller network"
        )
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        if cost(_kept(scores, pools, widths, share)) > most:
            low = share
        else:
            high = share
    kept = _kept(scores, pools, widths, high) if high < 1 else least
    return _given_back(kept, scores, widths, cost, most)


def at_ratio(
    layout: Layout,
    scores: Sequence[Tensor],
    *,
    ratio: float,
    net: nn.Module,
    scope: Scope = "global",
    round_to: int = 8,
) -> list[int]:
    """How many units each group keeps if the share `ratio` of all is to go."""
    widths = widths_of(layout, round_to=round_to)
    return _kept(scores, _pools(net, layout.groups, scope), widths, ratio)


def least_missed(scores: Tensor, kept: int) -> list[int]:
    """The units that go when `kept` of them stay."""
    order = scores.argsort(stable=True)
    return sorted(order[: len(scores) - kept].tolist())


def _kept(
    scores: Sequence[Tensor],
    pools: Sequence[Sequence[int]],
    widths: Widths,
    share: float,
) -> list[int]:
    """Units that stay if in each pool the lowest `share` of scores goes."""
    kept = [0] * len(scores)
    for pool in pools:
        ordered = torch.cat([scores[index] for index in pool]).sort().values
        gone = round(share * len(ordered))
        threshold = float(ordered[gone - 1]) if gone else -math.inf
        for index in pool:
            kept[index] = widths.nearest(
                index, int((scores[index] > threshold).sum())
            )
    return kept


def _given_back(
    kept: list[int],
    scores: Sequence[Tensor],
    widths: Widths,
    cost: Cost,
    most: float,
) -> list[int]:
    """`kept`, and the units that the rounding took without need."""
    waiting = set(range(len(kept)))
    while waiting:
        wider = {index: widths.wider(index, kept[index]) for index in waiting}
        waiting = {index for index, more in wider.items() if more is not None}
        if not waiting:
            break
        gain = {
            index: float(
                scores[index].sort(descending=True).values[
                    kept[index] : wider[index]
                ].mean()
            )
            for index in waiting
        }
        best = max(waiting, key=lambda index: gain[index])
        trial = [*kept]
        trial[best] = wider[best] or kept[best]
        if cost(trial) <= most:
            kept = trial
        else:
            waiting.remove(best)
    return kept


def _pools(
    net: nn.Module, groups: Sequence[Group], scope: Scope
) -> list[list[int]]:
    """Which groups are ranked together.

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
