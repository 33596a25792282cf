"""Ranges chosen by what they do to the answer: steps against what is cut off."""

from collections.abc import Mapping

import torch
from torch import Tensor

from compress.int8.plan import Plan
from compress.int8.rules import STEPS, Range
from compress.quantization.output_sensitivity import Influence, Influences


def chosen_ranges(
    plan: Plan, extremes: Mapping[str, Range], found: Influences
) -> dict[str, Range]:
    """The range of every group that has no fixed grid, of the least effect.

    extremes: by group; what the answer is read off keeps them. Groups that are added up
    share one step, which is chosen for all of them.
    """
    chosen = {
        first: extremes[first] for first in plan.groups if first not in plan.fixed
    }
    free = {
        first: members
        for first in chosen
        if plan.logits.isdisjoint(plan.groups[first])
        and (members := _members(plan, first, found))
    }
    summed = {first for cluster in plan.sums for first in cluster}
    for first in free.keys() - summed:
        chosen |= _least({first: free[first]})
    for cluster in plan.sums:
        if all(first in free for first in cluster if first in chosen):
            chosen |= _least({first: free[first] for first in cluster if first in free})
    return chosen


def _members(plan: Plan, first: str, found: Influences) -> list[Influence]:
    """What is known of the tensors of a group."""
    return [found.tensors[node] for node in plan.groups[first] if node in found.tensors]


def _least(groups: Mapping[str, list[Influence]]) -> dict[str, Range]:
    """Ranges of one common step for some groups, of the least effect together."""
    if not groups:
        return {}
    widths = {first: _widths(members[0]) for first, members in groups.items()}
    cuts = {
        first: torch.stack([each.cutting() for each in members]).sum(dim=0)
        for first, members in groups.items()
    }
    slopes = sum(
        float(each.gradients.sum()) / each.images
        for members in groups.values()
        for each in members
    )
    every = torch.cat([each.flatten() for each in widths.values()])
    tried = every.new_tensor(sorted(set(every.tolist())))
    cost = slopes * (tried / STEPS) ** 2 / 12
    places = {}
    for first, cut in cuts.items():
        fits = widths[first] <= tried[:, None, None] * (1 + 1e-9)
        least = torch.where(fits, cut, float("inf")).flatten(1).min(dim=1)
        cost += least.values
        places[first] = least.indices
    best = int(cost.argmin())
    chosen = {}
    for first, members in groups.items():
        low, high = divmod(int(places[first][best]), widths[first].shape[1])
        chosen[first] = (float(members[0].low[low]), float(members[0].high[high]))
    return chosen


def _widths(one: Influence) -> Tensor:
    """The width of each pair of ends, [candidates, candidates]."""
    return one.high[None, :] - one.low[:, None]
