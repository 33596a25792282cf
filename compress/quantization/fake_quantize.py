"""Rounding that gradients pass: to a given grid, or to one whose scale is learnt."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from compress.int8.grids import WEIGHT_HIGH, bias_steps
from export.qparams import HIGH, LOW, Grid


class Learnt(NamedTuple):
    """A grid whose scale, a scalar tensor, takes part in learning."""

    scale: Tensor
    zero_point: int


@dataclass(kw_only=True)
class Pass:
    """One forward pass: the grids it rounds to, and the extremes it sees."""

    grids: Mapping[str, Grid | Learnt]
    watched: frozenset[str]
    seen: dict[str, Tensor] = field(default_factory=dict)

    def rounded(self, values: Tensor, name: str) -> Tensor:
        """What the node `name` gives, on its grid."""
        if name in self.watched:
            self.seen[name] = extremes(values.detach())
        return fake_quantized(values, self.grids[name])


def extremes(values: Tensor) -> Tensor:
    """The range [2] of all numbers of a batch, as Jacob et al. 2018 observe it."""
    return torch.stack(values.aminmax()).float()


def fake_quantized(values: Tensor, grid: Grid | Learnt) -> Tensor:
    """Round to a grid, in float32; within its range the gradient passes unchanged."""
    values = values.float()
    if isinstance(grid, Grid):
        return torch.fake_quantize_per_tensor_affine(
            values, grid.scale, grid.zero_point, LOW, HIGH
        )
    low, high = LOW - grid.zero_point, HIGH - grid.zero_point
    return lsq(values, grid.scale, low, high, shared=values[0].numel())


def fake_quantized_weight(weight: Tensor, scales: Tensor, *, learnt: bool) -> Tensor:
    """Round weights [outputs, …] to multiples of scales [outputs], symmetrically."""
    if learnt:
        shape = (-1, *([1] * (weight.dim() - 1)))
        return lsq(
            weight,
            scales.view(shape),
            -WEIGHT_HIGH,
            WEIGHT_HIGH,
            shared=weight[0].numel(),
        )
    zeros = torch.zeros(len(scales), dtype=torch.int32, device=scales.device)
    return torch.fake_quantize_per_channel_affine(
        weight, scales, zeros, 0, -WEIGHT_HIGH, WEIGHT_HIGH
    )


def fake_quantized_bias(bias: Tensor, steps: Tensor) -> Tensor:
    """Round a bias [outputs] to int32 multiples of steps [outputs]."""
    steps = steps.detach()
    rounded = bias_steps(bias.detach(), steps).double() * steps.double()
    return bias + (rounded.float() - bias).detach()


def lsq(values: Tensor, scale: Tensor, low: int, high: int, *, shared: int) -> Tensor:
    """Round to multiples low … high of a positive `scale` that is learnt.

    Esser et al. 2020, equations 1 to 3: the gradient of a value within the range is 1,
    else 0; that of the scale is round(v / s) - v / s within the range, else the limit,
    times 1 / sqrt(shared * high), where `shared` weights, or features of one image,
    have this scale (section 2.2).
    """
    scale = _gentler(scale, (shared * max(high, 1)) ** -0.5)
    steps = (values / scale).clamp(low, high)
    return (steps + (steps.round() - steps).detach()) * scale


def _gentler(scale: Tensor, factor: float) -> Tensor:
    """The same number with `factor` times its gradient."""
    return scale * factor + (scale * (1 - factor)).detach()
