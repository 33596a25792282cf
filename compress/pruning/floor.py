"""The least that a network can be cut to: known from its architecture alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from compress.pruning.budget import MOST, beyond_reach
from compress.pruning.exclude import spared
from compress.pruning.graph import groups_of
from compress.pruning.group_check import Proved, proved
from compress.pruning.layout import Layout, asked_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from compress.models.model import Model
    from compress.pruning.group import Group
    from compress.recipe.prune import Prune


def may_be_cut(
    net: nn.Module, options: Prune, *, size: int, name: str
) -> tuple[Sequence[Group], Proved]:
    """The groups of `net` that the recipe allows to be cut, and all that are right."""
    found = proved(net, groups_of(net, size=size, name=name), size=size)
    return [g for g in found.groups if not spared(g, options.exclude)], found


def least_layout(model: Model, options: Prune) -> tuple[Layout, tuple[int, ...]]:
    """The layers of `model` with the units that each group keeps at the very least.

    No stage cuts deeper: groups that a trial leaves whole are not known yet, and each
    of several steps may take its share of what the one before left.
    """
    size = model.preprocess.size
    groups, _ = may_be_cut(model.net, options, size=size, name=model.spec.name)
    layout = Layout(model.net, groups, size=size)
    return layout, tuple(_least_units(group, options) for group in groups)


def check_floor(model: Model, options: Prune) -> None:
    """Refuse a budget that lies below the least that `model` can be cut to."""
    if options.macs is None and options.params is None and options.size_mb is None:
        return
    layout, least = least_layout(model, options)
    cost, most, unit = asked_for(options, model.net, layout, size=model.preprocess.size)
    if (floor := cost(least)) > most:
        raise beyond_reach(most, floor, cost(layout.full), unit=unit)


def _least_units(group: Group, options: Prune) -> int:
    """How many units a group keeps however much is cut; see `allowed_units`."""
    step = options.round_to // math.gcd(options.round_to, group.unit_channels)
    least = max(1, math.ceil(group.units * (1 - MOST) ** options.steps))
    return min(group.units, step * math.ceil(least / step))
