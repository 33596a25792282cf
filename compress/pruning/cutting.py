"""Channels taken out of a network, or set to zero in it, wherever they appear."""

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from compress.pruning.group import Group, Place, Side

# Units to take out, by the place of their group in a list of groups.
Chosen = Mapping[int, Sequence[int]]
# Of every place that lost channels, those that are left, by their old numbers.
Left = Mapping[Place, Tensor]
_Norm = nn.modules.batchnorm._BatchNorm  # noqa: SLF001  # of images, lines and volumes


def cut(net: nn.Module, groups: Sequence[Group], chosen: Chosen) -> nn.Module:
    """A copy of `net` without the `chosen` units of `groups`, in the mode `net` is in.

    What is left keeps its weights and order. Each module still says how many channels
    it has, so that the copy may be traced, cut and recorded again.
    """
    copied = copy.deepcopy(net)
    gone, axis = _gone(groups, chosen)
    for (name, side), channels in gone.items():
        if name in axis:
            _replace_(copied, name, channels, axis[name])
        else:
            _thin_(copied.get_submodule(name), side, channels)
    return copied


def silenced(net: nn.Module, groups: Sequence[Group], chosen: Chosen) -> nn.Module:
    """A copy of `net` that has the `chosen` units, and zeros for their weights.

    Where no layer looks at all channels at once, as LayerNorm does, it computes what
    `cut` computes.
    """
    copied = copy.deepcopy(net)
    gone, axis = _gone(groups, chosen)
    with torch.no_grad():
        for (name, side), channels in gone.items():
            if name in axis:
                _fill_(copied.get_parameter(name), channels, axis[name])
                continue
            module = copied.get_submodule(name)
            for key, along in axes_of(module, side):
                if key in {"weight", "bias"}:  # a norm keeps its statistics
                    _fill_(getattr(module, key), channels, along)
    return copied


def kept_channels(net: nn.Module, groups: Sequence[Group], chosen: Chosen) -> Left:
    """The channels of `net` that `cut` leaves where it takes some."""
    gone, axis = _gone(groups, chosen)
    left: dict[Place, Tensor] = {}
    for (name, side), channels in gone.items():
        if name not in axis and channels:
            module = net.get_submodule(name)
            count = next(
                (
                    getattr(module, key).shape[along]
                    for key, along in axes_of(module, side)
                ),
                0,
            )
            left[name, side] = torch.tensor(
                [index for index in range(count) if index not in channels]
            )
    return left


def _gone(
    groups: Sequence[Group], chosen: Chosen
) -> tuple[dict[tuple[str, Side], set[int]], dict[str, int]]:
    """The channels that go, by place, and the axes of free parameters."""
    gone: dict[tuple[str, Side], set[int]] = defaultdict(set)
    axis: dict[str, int] = {}
    for index, units in chosen.items():
        axis |= groups[index].axis
        for place in groups[index].places:
            gone[place].update(groups[index].channels(place, units))
    return gone, axis


def axes_of(module: nn.Module, side: Side) -> Iterable[tuple[str, int]]:
    """The tensors of a module that hold channels of `side`, and along which axis."""
    if side == "in":
        # A grouped layer loses whole groups, so each filter sees as many as before.
        whole = isinstance(module, nn.Conv2d) and module.groups > 1
        return () if whole else (("weight", 1),)
    names = ("weight", "bias", "running_mean", "running_var")
    return [
        (name, 0) for name in names if isinstance(getattr(module, name, None), Tensor)
    ]


def _thin_(module: nn.Module, side: Side, channels: set[int]) -> None:
    """Take `channels` out of one module."""
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return
    for key, along in axes_of(module, side):
        _replace_(module, key, channels, along)
    for key, count in _counts(module, side, len(channels)):
        setattr(module, key, count)


def _counts(
    module: nn.Module, side: Side, fewer: int
) -> Iterable[tuple[str, int | tuple[int, ...]]]:
    """What a module says of itself when `fewer` channels of `side` are gone."""
    match module:
        case nn.Conv2d() if module.groups == 1 or side == "in":
            key = f"{side}_channels"
            yield key, getattr(module, key) - fewer
        case nn.Conv2d():
            each = module.out_channels // module.groups
            left = module.groups - fewer // each
            if module.in_channels == module.groups:  # depthwise: its inputs are units
                yield "in_channels", left
            yield "groups", left
            yield "out_channels", left * each
        case nn.Linear():
            key = f"{side}_features"
            yield key, getattr(module, key) - fewer
        case _Norm():
            yield "num_features", module.num_features - fewer
        case nn.LayerNorm():
            yield (
                "normalized_shape",
                (*module.normalized_shape[:-1], module.normalized_shape[-1] - fewer),
            )
        case nn.PReLU():
            yield "num_parameters", module.num_parameters - fewer


def _replace_(owner: nn.Module, path: str, channels: set[int], axis: int) -> None:
    """Put in a tensor's place the same without `channels` along `axis`."""
    module, _, key = path.rpartition(".")
    owner = owner.get_submodule(module)
    old = getattr(owner, key)
    kept = [index for index in range(old.shape[axis]) if index not in channels]
    values = old.detach().index_select(axis, torch.tensor(kept, device=old.device))
    if isinstance(old, nn.Parameter):
        values = nn.Parameter(values, requires_grad=old.requires_grad)
    setattr(owner, key, values)


def _fill_(tensor: Tensor, channels: set[int], axis: int) -> None:
    """Zeros for `channels` along `axis`."""
    at = torch.tensor(sorted(channels), dtype=torch.long, device=tensor.device)
    tensor.index_fill_(axis, at, 0.0)
