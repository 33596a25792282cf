"""How much a network would miss each unit: one function a criterion, and their table.

A criterion sees one place of a group at a time: the weights that meet there, one row a
channel; what it says of the channels of a unit is added up, and averaged over places.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from compress.pruning.group import Group, Place

Criterion = Literal["l1", "l2", "bn", "taylor", "fpgm", "random"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The weights at one place, and their gradients where they were asked for.

    weights, gradients: float32 [channels, n].
    """

    weights: Tensor
    gradients: Tensor | None
    rng: torch.Generator


def _l1(rows: Rows) -> Tensor:
    """Sum of magnitudes (Li et al. 2017)."""
    return rows.weights.abs().sum(1)


def _l2(rows: Rows) -> Tensor:
    """Sum of squares, as groups are judged by Fang et al. 2023."""
    return rows.weights.square().sum(1)


def _bn(rows: Rows) -> Tensor:
    """Magnitude of the scale of batch normalization (Liu et al. 2017)."""
    return rows.weights.abs().sum(1)


def _taylor(rows: Rows) -> Tensor:
    """First-order change of the loss without the channel (Molchanov et al. 2019)."""
    if rows.gradients is None:  # pragma: no cover  # `scores` has seen to it
        raise ValueError("taylor: needs gradients")
    return (rows.weights * rows.gradients).sum(1).abs()


def _fpgm(rows: Rows) -> Tensor:
    """Distance to the other filters: what lies among them can go (He et al. 2019)."""
    return torch.cdist(rows.weights[None], rows.weights[None])[0].sum(1)


def _random(rows: Rows) -> Tensor:
    """Chance, to compare with."""
    return torch.rand(len(rows.weights), generator=rows.rng)


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """One criterion: what it says of rows, and where it looks.

    relative: scores are divided by their mean over the group, since the weights of
    one layer are larger than another's for no better reason than their number.
    """

    of: Callable[[Rows], Tensor]
    where: tuple[type[nn.Module], ...]
    sides: tuple[str, ...] = ("out", "in")
    relative: bool = True
    needs_gradients: bool = False


_LAYERS: Final = (nn.Conv2d, nn.Linear)
_NORMS: Final = (nn.BatchNorm2d, nn.BatchNorm1d)
CRITERIA: Final[Mapping[Criterion, _Rule]] = {
    "l1": _Rule(of=_l1, where=_LAYERS),
    "l2": _Rule(of=_l2, where=_LAYERS),
    "bn": _Rule(of=_bn, where=_NORMS),
    "taylor": _Rule(of=_taylor, where=_LAYERS, relative=False, needs_gradients=True),
    "fpgm": _Rule(of=_fpgm, where=_LAYERS, sides=("out",)),
    "random": _Rule(of=_random, where=_LAYERS),
}


def scores(
    net: nn.Module,
    groups: Sequence[Group],
    criterion: Criterion,
    *,
    rng: torch.Generator,
    gradients: Mapping[str, Tensor] | None = None,
) -> list[Tensor]:
    """For every group, a score [units] each: the least is missed least.

    `gradients`: of the loss, by parameter, for a criterion that needs them. A group
    without a place where the criterion looks is judged by its L2.
    """
    rule = CRITERIA[criterion]
    return [
        _group_scores(net, group, rule, rng, gradients)
        if any(_seen(net, group, place, rule) for place in group.places)
        else _group_scores(net, group, CRITERIA["l2"], rng, None)
        for group in groups
    ]


def _seen(net: nn.Module, group: Group, place: Place, rule: _Rule) -> bool:
    """Whether a criterion looks there."""
    name, side = place
    if name in group.axis or side not in rule.sides:
        return False
    module = net.get_submodule(name)
    # A grouped layer's inputs have no rows of their own; its outputs speak for them.
    shared = isinstance(module, nn.Conv2d) and module.groups > 1 and side == "in"
    return isinstance(module, rule.where) and not shared


def _group_scores(
    net: nn.Module,
    group: Group,
    rule: _Rule,
    rng: torch.Generator,
    gradients: Mapping[str, Tensor] | None,
) -> Tensor:
    """Scores [units] of one group."""
    found = []
    for place, of_unit in group.places.items():
        if not _seen(net, group, place, rule):
            continue
        name, side = place
        weight = net.get_submodule(name).weight
        if not isinstance(weight, Tensor):
            raise TypeError(f"{name}: has no weight")
        slope = None if gradients is None else gradients[f"{name}.weight"]
        rows = Rows(
            weights=_rows(weight.detach(), side),
            gradients=None if slope is None else _rows(slope, side),
            rng=rng,
        )
        said = rule.of(rows)
        found.append(torch.stack([said[list(c)].sum() for c in of_unit]))
    total = torch.stack(found).mean(0)
    return total / total.mean().clamp(min=1e-30) if rule.relative else total


def _rows(weight: Tensor, side: str) -> Tensor:
    """A weight as one row a channel of `side`."""
    along = weight.transpose(0, 1) if side == "in" and weight.dim() > 1 else weight
    return along.reshape(len(along), -1).float()
