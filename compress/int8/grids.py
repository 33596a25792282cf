"""The grids that INT8 numbers lie on: scale and zero point of tensors and weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import torch
from torch import Tensor

from export.qparams import HIGH, LOW, Grid

# Weights leave -128 out, so that a kernel may negate them (LiteRT INT8 specification).
WEIGHT_HIGH: Final = 127
# Half of int32: the sum of products needs the rest.
BIAS_HIGH: Final = 1 << 30
# More steps would leave float32, which holds sums exactly up to 2^24, on the way to
# int32; a bias that needs them is that of a filter of next to nothing.
_BIAS_WANTED: Final = 1 << 23
# A range narrower than this is a constant; the grid must not divide by nothing.
_NARROWEST: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Every grid of a network; a tensor or weight without one stays float.

    activations: by node; weights: scales [outputs] by name of the weight; left_float:
    nodes that compute in float although the table knows them in INT8; logits: the grid
    of the answer in files that end in int8, all others give it in float. rounding:
    whether a kernel rounds what it writes, or an INT8 kernel what it reads: TensorRT
    goes on in float behind a convolution until then.
    """

    activations: Mapping[str, Grid]
    weights: Mapping[str, Tensor]
    left_float: frozenset[str] = field(default_factory=frozenset)
    logits: Grid | None = None
    rounding: Literal["on_write", "on_read"] = "on_write"

    def without(self, nodes: frozenset[str]) -> "Scheme":
        """The same grids with more nodes left in float."""
        return replace(self, left_float=self.left_float | nodes)


def grid_between(low: float, high: float) -> Grid:
    """The grid that spans [low, high] and holds 0 exactly, as padding needs it."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, _NARROWEST) / (HIGH - LOW)
    scale = float32(scale)
    return Grid(scale, max(LOW, min(HIGH, round(LOW - low / scale))))


def float32(value: float) -> float:
    """The float32 nearest to `value`, as files store it and runtimes compute."""
    return float(torch.tensor(value, dtype=torch.float32))


def weight_scales(weight: Tensor) -> Tensor:
    """Symmetric scales [outputs] that hold the largest weight of each output."""
    largest = weight.detach().flatten(1).abs().amax(dim=1)
    return largest.clamp(min=_NARROWEST) / WEIGHT_HIGH


def roomy_scales(scales: Tensor, bias: Tensor, source: float | Tensor) -> Tensor:
    """Scales [outputs] of weights, larger where a bias [outputs] takes too many steps.

    Those are of `source`, the input's scale, times a weight's. A filter that is zero or
    tiny beside its bias (masked, pruned, or dead since the training) has a step that
    is no measure for it: cut to int32, the bias would be another one. What such
    weights lose is less than a hundredth of a step of the output for each input.
    """
    return torch.maximum(scales, bias.detach().abs() / (source * _BIAS_WANTED))


def weight_steps(weight: Tensor, scales: Tensor) -> Tensor:
    """Weights [outputs, …] as int8 multiples of their scales [outputs]."""
    steps = torch.round(weight / _by_output(scales, weight))
    return steps.clamp(-WEIGHT_HIGH, WEIGHT_HIGH).to(torch.int8)


def snapped_weight(weight: Tensor, scales: Tensor) -> Tensor:
    """Round weights [outputs, …] to multiples of their scales."""
    return weight_steps(weight, scales) * _by_output(scales, weight)


def _by_output(scales: Tensor, weight: Tensor) -> Tensor:
    """Scales [outputs] in a shape that multiplies weights [outputs, …]."""
    return scales.view(-1, *([1] * (weight.dim() - 1)))


def bias_steps(bias: Tensor, scales: Tensor) -> Tensor:
    """A bias [outputs] as int32 multiples of scales [outputs], input x weight."""
    steps = torch.round(bias.double() / scales.double())
    return steps.clamp(-BIAS_HIGH, BIAS_HIGH).to(torch.int32)
