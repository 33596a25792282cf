"""What integer kernels compute, to the bit: sums of integers, one rounding at the end.

Tensors are real numbers that lie on a grid; a kernel recovers their integer steps,
works on those, and gives real numbers on the grid of its output. float32 holds integers
up to 2^24 exactly, which sums of int8 products do not reach in practice, so the sums
are those of an integer unit, in whatever order they are added. They are scaled by one
float32 factor and rounded half to even, as MLAS (ONNX Runtime) and XNNPACK (LiteRT) do.
"""

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor

from compress.int8.grids import float32
from export.qparams import HIGH, LOW, Grid

# Stride, padding and dilation for height and width, and groups.
Geometry = tuple[Sequence[int], Sequence[int], Sequence[int], int]
# The least and greatest real number a clamp lets through.
Bounds = tuple[float, float]
UNBOUNDED: Final[Bounds] = (float("-inf"), float("inf"))


def quantize(values: Tensor, grid: Grid) -> Tensor:
    """Put real numbers on a grid: round(x / scale) + zero point, saturated (ONNX)."""
    return _real(torch.round(values / grid.scale), grid, UNBOUNDED)


def conv2d(  # noqa: PLR0913, PLR0917  # aten's own arguments, then the grids
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    source: Grid,
    factors: Tensor,
    target: Grid,
    bounds: Bounds,
) -> Tensor:
    """Convolve int8 steps: weight holds integers, bias int32 steps, both as float32.

    factors: [outputs], input scale x weight scale / output scale, in float32.
    """
    steps = _steps(images, source)
    stride, padding, dilation, groups = geometry
    sums = F.conv2d(steps, weight, bias, stride, padding, dilation, groups)
    return _real(sums.mul_(factors.view(1, -1, 1, 1)).round_(), target, bounds)


def linear(  # noqa: PLR0913, PLR0917  # as above
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    source: Grid,
    factors: Tensor,
    target: Grid | None,
    bounds: Bounds,
) -> Tensor:
    """Multiply int8 steps by integers; without a `target` the sums stay float."""
    sums = F.linear(_steps(features, source), weight, bias).mul_(factors)
    return sums if target is None else _real(sums.round_(), target, bounds)


def conv2d_in_float(  # noqa: PLR0913, PLR0917  # as above
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    source: Grid,
    factors: Tensor,
) -> Tensor:
    """Convolve int8 steps by integers; scale the sums and add a bias in float."""
    stride, padding, dilation, groups = geometry
    steps = _steps(images, source)
    sums = F.conv2d(steps, weight, None, stride, padding, dilation, groups)
    return _scaled(sums, factors.view(1, -1, 1, 1), bias)


def linear_in_float(  # as above
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    source: Grid,
    factors: Tensor,
) -> Tensor:
    """Multiply int8 steps by integers; scale the sums and add a bias in float."""
    return _scaled(F.linear(_steps(features, source), weight), factors, bias)


def _scaled(sums: Tensor, factors: Tensor, bias: Tensor | None) -> Tensor:
    """Integers times what one is worth, and a bias: two roundings, never one."""
    real = sums.mul_(factors)
    return real if bias is None else real.add_(bias.view(factors.shape))


def depthwise_in_order(
    images: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    """Convolve each channel by itself in float, one tap after the other.

    Sums of floats depend on their order; this one every runtime can repeat.
    """
    (down, right), (rows, columns), (deep, wide), _ = geometry
    padded = F.pad(images, (columns, columns, rows, rows))
    taps = weight[:, 0]
    height = (padded.shape[2] - deep * (taps.shape[1] - 1) - 1) // down + 1
    width = (padded.shape[3] - wide * (taps.shape[2] - 1) - 1) // right + 1
    total = torch.zeros(())
    for i in range(taps.shape[1]):
        for j in range(taps.shape[2]):
            patch = padded[:, :, i * deep :: down, j * wide :: right]
            part = patch[:, :, :height, :width] * taps[:, i, j].view(1, -1, 1, 1)
            total = part if i == j == 0 else total + part
    return total if bias is None else total + bias.view(1, -1, 1, 1)


def hard_sigmoid(values: Tensor) -> Tensor:
    """clip(x / 6 + 1 / 2, 0, 1) by a product and a sum, as ONNX has it."""
    return (values * float32(1 / 6)).add_(0.5).clamp_(0, 1)


def add(  # noqa: PLR0913, PLR0917  # two operands, three grids
    first: Tensor, second: Tensor, a: Grid, b: Grid, target: Grid, bounds: Bounds
) -> Tensor:
    """Add two tensors of their own grids; in float64, so that only ties are open."""
    total = _steps(first, a).double() * (a.scale / target.scale)
    total += _steps(second, b).double() * (b.scale / target.scale)
    return _real(total.round_().float(), target, bounds)


def multiply(  # noqa: PLR0913, PLR0917  # two operands, three grids
    first: Tensor, second: Tensor, a: Grid, b: Grid, target: Grid, bounds: Bounds
) -> Tensor:
    """Multiply two tensors of their own grids, such as features and their gates."""
    factor = float32(float32(a.scale * b.scale) / target.scale)
    steps = _steps(first, a) * _steps(second, b)
    return _real(steps.mul_(factor).round_(), target, bounds)


def global_average(images: Tensor, source: Grid, target: Grid | None) -> Tensor:
    """Average int8 maps [n, c, h, w] into [n, c, 1, 1]."""
    count = images.shape[-2] * images.shape[-1]
    sums = _steps(images, source).sum(dim=(2, 3), keepdim=True)
    if target is None:
        return sums * float32(source.scale / count)
    factor = float32(float32(source.scale / target.scale) / count)
    return _real(sums.mul_(factor).round_(), target, UNBOUNDED)


def _steps(values: Tensor, grid: Grid) -> Tensor:
    """How many steps from zero each number of a grid lies, exactly."""
    return torch.round(values / grid.scale)


def _real(steps: Tensor, grid: Grid, bounds: Bounds) -> Tensor:
    """Rounded steps from zero as real numbers, saturated by the grid and a clamp."""
    low, high = LOW - grid.zero_point, HIGH - grid.zero_point
    if bounds[0] > grid.low:
        low = max(low, round(bounds[0] / grid.scale))
    if bounds[1] < grid.high:
        high = min(high, round(bounds[1] / grid.scale))
    return steps.clamp_(low, high).mul_(grid.scale)
