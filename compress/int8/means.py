"""Means over maps on grids on which no sum of steps lies near the middle of two steps.

A mean is one factor times a sum of steps, rounded. Runtimes agree on the sum, and each
has its own float32 way from there. XNNPACK (LiteRT) sums codes, not steps, and folds
both zero points into one float that it adds before it rounds, so it rounds numbers of
the size of the zero points: `round(sum * scale + (zero_out - count * zero_in * scale))`
with `scale = scale_in / scale_out * (1 / count)`; on x86 three roundings, on ARM one
fused multiply-add (src/operators/reduce-nd.c, src/reference/unary-elementwise.cc; with
the former formula all sums of LiteRT 2.3 on x86 are met to the bit, with the latter
those on cortex-a72 and a76). MLAS (ONNX Runtime) sums steps, multiplies by
`scale_in / (scale_out * count)` and adds the zero point behind the rounding, on x86;
on ARM it multiplies in 64-bit integers and rounds ties away from zero, not to even
(onnxruntime/core/mlas/lib/qlgavgpool.cpp). So one step of one channel differs in a map
of 64 or in one of thousands, by grid and machine, and all that follows with it.

All of that is a matter of ties. With `scale_in / (scale_out * count) = p / q` and q odd
there are none: a sum is a whole number of q-ths, and the nearest of those to a half is
1 / (2 q) away from it, more than float32 can carry any of them. Other kernels of a mean
(such as TFLite's own, which LiteRT only takes without XNNPACK) are not spoken of.
"""

from collections.abc import Collection
from math import ceil, lcm
from typing import Final, cast

import numpy as np
from torch import fx

from compress.int8.grids import float32
from compress.int8.pools import map_of, pair_of
from export.qparams import HIGH, LOW, Grid

# How much coarser a grid may get for the sake of the greatest distance from ties.
_COARSER: Final = 1 / 256
# Half a unit in the last place of float32, relative to the number.
_ROUNDING: Final = 2.0**-24


def calm_mean(source: Grid, target: Grid, counts: Collection[int]) -> Grid:
    """The grid, coarser by little, on which no mean of numbers of `source` is a tie.

    counts: of how many numbers the means are, more than one where windows differ.
    """
    if target.scale > source.scale:
        # A mean lies between the least and the greatest number of its source.
        target = source
    whole = lcm(*counts)
    share = source.scale / target.scale / whole
    parts = np.arange(1, max(2.0, 0.5 / _reach(source, target)), 2)
    times = np.floor(share * parts * (1 + 4 * _ROUNDING))
    parts, times = parts[times > 0], times[times > 0]
    if not len(parts):
        parts, times = np.array([2.0 * ceil(0.5 / share) + 1]), np.array([1.0])
    coarser = share * parts / times - 1
    near = np.flatnonzero(coarser <= _COARSER)
    best = near[0] if len(near) else coarser.argmin()
    scale = float32(source.scale * parts[best] / (times[best] * whole))
    return Grid(scale, target.zero_point)


def _reach(source: Grid, target: Grid) -> float:
    """How far from its place, in steps of `target`, any kernel may put a mean.

    The factor is rounded four times at most, with `target` itself five, and multiplies
    up to 255 steps. On the way there are a sum of codes and both zero points, which are
    rounded by themselves: up to 128 steps of `source` each, three times.
    """
    ratio = source.scale / target.scale
    return _ROUNDING * (8 * (HIGH - LOW + 1) + 4 * (HIGH + 1) * ratio)


def counts_of(node: fx.Node) -> frozenset[int]:
    """Of how many numbers an adaptive average takes its means."""
    sides, bins = map_of(cast("fx.Node", node.args[0])), pair_of(node.args[1])
    along = [
        {
            ceil((place + 1) * side / count) - place * side // count
            for place in range(count)
        }
        for side, count in zip(sides, bins, strict=True)
    ]
    return frozenset(high * wide for high in along[0] for wide in along[1])
