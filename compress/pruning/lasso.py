"""Sparse learning: a penalty that lets whole channels fade before they are cut.

Group lasso (Yuan & Lin 2006) over all that goes with a unit, in whatever layer it lies,
as Fang et al. 2023 train for their groups; or, for a criterion that looks at the scales
of batch norms alone, the sum of those (Liu et al. 2017).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from compress.pruning.cutting import axes_of
from compress.pruning.group import Group

# The slope of a norm has no limit at zero; below this it counts as none.
_LEAST: Final = 1e-12
_NORMS: Final = (nn.BatchNorm2d, nn.BatchNorm1d)


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one parameter has of the units of a group.

    parameter: by name; axis: of it, the one that holds channels; channels, units:
    int64 [n], which of these channels belongs to which unit.
    """

    parameter: str
    axis: int
    channels: Tensor
    units: Tensor

    def squares(self, net: nn.Module, count: int) -> Tensor:
        """Sums of squares [count], of each unit of the group."""
        values = net.get_parameter(self.parameter).movedim(self.axis, 0)
        of_channel = values.reshape(len(values), -1).square().sum(1)
        units = self.units.to(values.device)
        zeros = values.new_zeros(count)
        return zeros.index_add(0, units, of_channel[self.channels.to(values.device)])

    def numbers(self, net: nn.Module, count: int) -> Tensor:
        """How many numbers [count] each unit has there."""
        value = net.get_parameter(self.parameter)
        each = value.numel() / value.shape[self.axis]
        return torch.bincount(self.units, minlength=count) * each


@dataclass(frozen=True, kw_only=True)
class GroupLasso:
    """strength * the sum over units of sqrt(their numbers) * their Euclidean norm.

    groups: for each, the roots [units] of how many numbers its units have, and where
    these lie.
    """

    strength: float
    groups: tuple[tuple[Tensor, tuple[Share, ...]], ...]

    def __call__(self, net: nn.Module) -> Tensor:
        """The penalty, a scalar that gradients flow back from."""
        total = next(net.parameters()).new_zeros(())
        for weights, shares in self.groups:
            norms = _norms(net, len(weights), shares)
            total = total + (weights.to(total) * norms).sum()
        return self.strength * total

    def norms(self, net: nn.Module) -> list[Tensor]:
        """The Euclidean norm [units] of every unit, group by group."""
        with torch.no_grad():
            return [
                _norms(net, len(weights), shares) for weights, shares in self.groups
            ]

    def as_record(self) -> Mapping[str, object]:
        """What a training depends on, besides the network that the groups are of."""
        places = [[share.parameter for share in shares] for _, shares in self.groups]
        return {"strength": self.strength, "groups": places}


def sparse_penalty(
    net: nn.Module, groups: Sequence[Group], *, strength: float, scales: bool
) -> GroupLasso:
    """The penalty on `groups` of `net`; `scales`: only on those of batch norms.

    Each norm's scales then stand for themselves, so that a norm is a magnitude; a group
    without one is penalized as a whole, as it is judged as a whole.
    """
    found: list[tuple[Tensor, tuple[Share, ...]]] = []
    for group in groups:
        shares = tuple(_shares(net, group))
        alone: list[tuple[Share, ...]] = [
            (share,) for share in shares if scales and _is_scale(net, share)
        ]
        for together in alone or [shares]:
            numbers = [share.numbers(net, group.units) for share in together]
            found.append((torch.stack(numbers).sum(0).sqrt(), together))
    return GroupLasso(strength=strength, groups=tuple(found))


def _norms(net: nn.Module, count: int, shares: Sequence[Share]) -> Tensor:
    """The Euclidean norm [count] of every unit of one group."""
    squares = torch.stack([share.squares(net, count) for share in shares]).sum(0)
    return squares.clamp(min=_LEAST).sqrt()


def _shares(net: nn.Module, group: Group) -> Iterator[Share]:
    """Every parameter that holds channels of `group`."""
    for (name, side), of_unit in group.places.items():
        pairs = [(c, u) for u, channels in enumerate(of_unit) for c in channels]
        channels, units = torch.tensor(pairs).unbind(1)
        if name in group.axis:
            held = [(name, group.axis[name])]
        else:
            held = [
                (f"{name}.{key}", axis)
                for key, axis in axes_of(net.get_submodule(name), side)
                if key in {"weight", "bias"}
            ]
        for parameter, axis in held:
            yield Share(parameter=parameter, axis=axis, channels=channels, units=units)


def _is_scale(net: nn.Module, share: Share) -> bool:
    """Whether it is what a batch norm multiplies by."""
    module, _, key = share.parameter.rpartition(".")
    return key == "weight" and isinstance(net.get_submodule(module), _NORMS)
