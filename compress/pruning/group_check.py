"""Groups proved before they are used: a cut network computes what it must.

A tracer sees operators, not what they mean, so it may tie channels together wrongly
(shuffles, padding along channels). Each group is therefore cut once from a copy of
the network with random weights, and compared with that copy, the same weights zero.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compress.pruning.cutting import Chosen, cut, silenced
from compress.pruning.group import Group

# Relative, of float32 sums taken in another order; a channel amiss changes the answer
# by as much as it is.
_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Proved:
    """Groups that may be cut, and the layers whose channels have to stay."""

    groups: tuple[Group, ...]
    left_whole: tuple[str, ...]


def proved(net: nn.Module, groups: Sequence[Group], *, size: int) -> Proved:
    """The `groups` of `net` that are right, tried on an image of `size` pixels."""
    rng = torch.Generator().manual_seed(0)
    trial = _randomized(net, rng)
    image = torch.randn(1, 3, size, size, generator=rng)
    chosen = {
        index: torch.randperm(group.units, generator=rng)[: group.units // 2].tolist()
        for index, group in enumerate(groups)
        if group.units > 1
    }
    good = set(chosen)
    if not _holds(trial, groups, chosen, image):
        good = {
            index
            for index, units in chosen.items()
            if _holds(trial, groups, {index: units}, image)
        }
    return Proved(
        groups=tuple(group for index, group in enumerate(groups) if index in good),
        left_whole=tuple(g.name for i, g in enumerate(groups) if i not in good),
    )


def _holds(
    net: nn.Module, groups: Sequence[Group], chosen: Chosen, image: Tensor
) -> bool:
    """Whether cutting `chosen` computes what silencing it does.

    Where a layer norm looks at the channels, only that it runs can be asked for.
    """
    with torch.no_grad():
        try:
            answer = cut(net, groups, chosen)(image)
        except (RuntimeError, ValueError, LookupError):
            return False
        exact = not any(_normalized(net, groups[index]) for index in chosen)
        expected = silenced(net, groups, chosen)(image) if exact else net(image)
    if answer.shape != expected.shape:
        return False
    error = (answer - expected).abs().max() / expected.abs().max().clamp(min=1e-30)
    return not exact or bool(error < _TOLERANCE)


def _normalized(net: nn.Module, group: Group) -> bool:
    """Whether a norm over all channels of an image is in the group."""
    return any(
        name not in group.axis and isinstance(net.get_submodule(name), nn.LayerNorm)
        for name, _ in group.places
    )


def _randomized(net: nn.Module, rng: torch.Generator) -> nn.Module:
    """A copy of `net` whose every channel shows: no weight that is zero or one."""
    trial = copy.deepcopy(net).float().cpu().eval()
    with torch.no_grad():
        for parameter in trial.parameters():
            if parameter.dim() > 1:
                # He et al. 2015: signals keep their size, however deep the network is.
                fan_in = parameter[0].numel()
                parameter.normal_(0.0, (2 / fan_in) ** 0.5, generator=rng)
            else:
                parameter.uniform_(0.5, 1.5, generator=rng)
        for name, buffer in trial.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0.0, 0.1, generator=rng)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5, generator=rng)
    return trial
