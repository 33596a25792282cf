"""Which weights go: masks as pure functions of the weights, True where one stays."""

from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

Masks = dict[str, Tensor]
Scope = Literal["global", "layer"]


def by_magnitude(
    weights: Mapping[str, Tensor], *, sparsity: float, scope: Scope, block: int = 1
) -> Masks:
    """Masks that leave out the smallest weights, a share `sparsity` of them.

    weights: [outputs, inputs, …] by name. scope: the smallest of all layers together,
    or as many of each layer. block: weights of so many neighboring outputs stay or go
    together, judged by their mean; outputs must be a multiple of it. Of equals, the
    first stay.
    """
    scores = {name: _by_block(weight, block) for name, weight in weights.items()}
    if scope == "layer":
        kept = {name: _largest(each, sparsity) for name, each in scores.items()}
    else:
        every = torch.cat([each.flatten() for each in scores.values()])
        sizes = [each.numel() for each in scores.values()]
        pieces = torch.split(_largest(every, sparsity), sizes)
        kept = {
            name: piece.view_as(scores[name])
            for name, piece in zip(scores, pieces, strict=True)
        }
    return {
        name: each.repeat_interleave(block, dim=0).view_as(weights[name])
        for name, each in kept.items()
    }


def n_of_m(weight: Tensor, *, kept: int, of: int) -> Tensor:
    """The mask that keeps the `kept` largest of every `of` neighboring inputs.

    weight: [outputs, inputs, …], inputs a multiple of `of`; for a convolution the
    neighbors are input channels at one place of the kernel, as sparse tensor cores
    read them (Mishra et al. 2021, section 3).
    """
    outputs, inputs, *rest = weight.shape
    groups = weight.detach().abs().reshape(outputs, inputs // of, of, -1)
    order = groups.argsort(dim=2, descending=True, stable=True)
    mask = torch.zeros_like(groups, dtype=torch.bool)
    mask.scatter_(2, order[:, :, :kept], value=True)
    return mask.reshape(outputs, inputs, *rest)


def masks_of(net: nn.Module, names: Collection[str]) -> Masks:
    """Where the parameters `names` of `net` are not zero now."""
    return {name: net.get_parameter(name).detach() != 0 for name in names}


def apply_(net: nn.Module, masks: Masks) -> None:
    """Set to zero what `masks` leave out."""
    with torch.no_grad():
        for name, mask in masks.items():
            # A product would leave -0 here and there, which packs badly.
            net.get_parameter(name).masked_fill_(~mask, 0.0)


def _by_block(weight: Tensor, block: int) -> Tensor:
    """How large weights [outputs, inputs, …] are, one number a block of outputs."""
    sizes = weight.detach().abs()
    if block == 1:
        return sizes
    return sizes.reshape(len(sizes) // block, block, *sizes.shape[1:]).mean(dim=1)


def _largest(scores: Tensor, sparsity: float) -> Tensor:
    """Where the largest scores are, all but exactly the share `sparsity`."""
    flat = scores.flatten()
    zeros = round(sparsity * flat.numel())
    if zeros == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    limit = flat.kthvalue(zeros).values
    kept = flat > limit
    ties = (flat == limit).nonzero().flatten()
    kept[ties[: flat.numel() - zeros - int(kept.sum())]] = True
    return kept.view_as(scores)
