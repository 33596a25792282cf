"""What a kernel takes at a layer's widths: a staircase, fitted to timings.

Kernels work on blocks of channels and, while registers last, on several blocks of
outputs at a time (MLAS: blocks of 8 under AVX2 and of 16 under AVX-512, four at most).
So latency rises in steps, and a set of blocks that is not full costs more than its
share of a full one: how much more, timings of the kernel say.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from compress.pruning.layout import Layer

Numbers = npt.NDArray[np.float64]

# Channels that kernels may take at a time; which it is, the fit finds out.
BLOCKS: Final = (8, 16)
# Other widths cost more than they save, so none but multiples of this is ever timed.
MULTIPLE: Final = min(BLOCKS)
_BLOCKS_AT_ONCE: Final = 4
_GROUPED: Final = "grouped"
# Timings are fitted in relative terms, but none more closely than this share of the
# longest: a microsecond in a short layer matters to nobody.
_SHORT: Final = 0.02


def kind(layer: Layer) -> str:
    """Which kernel computes a layer as it is whole; equal ones share a staircase."""
    shape = f"{layer.kernel[0]}x{layer.kernel[1]}/{layer.stride[0]}"
    if layer.groups > 1:
        return f"{_GROUPED} {shape}"
    if layer.height * layer.width == 1:
        return "vector"
    # Images of few channels are read as they are, not in blocks.
    return f"stem {shape}" if layer.inputs < MULTIPLE else shape


def terms(layer: Layer, kernel: str, *, block: int) -> tuple[float, ...]:
    """What the time of a `kind` of kernel is a sum of, with weights never negative.

    Multiply-accumulates in full sets of blocks, in sets of 1, 2 and 3; inputs read once
    for every set; outputs and weights; one for the call.
    """
    places = layer.height * layer.width
    window = layer.kernel[0] * layer.kernel[1]
    blocks = -(-layer.outputs // block)
    outputs = blocks * block
    if kernel.startswith(_GROUPED):
        share = layer.inputs // layer.groups
        # Kernels for grouped layers want whole blocks; others fall to slower ones.
        ragged = layer.outputs % block != 0
        macs = outputs * places * window * share
        return macs, outputs * places, outputs, ragged * macs, 1.0
    narrow = layer.inputs < block
    inputs = layer.inputs if narrow else -(-layer.inputs // block) * block
    full, over = divmod(blocks, _BLOCKS_AT_ONCE)
    macs = block * inputs * places * window
    read = inputs * places * layer.stride[0] * layer.stride[1]
    return (
        macs * full,
        *(macs * (over == some) for some in range(1, _BLOCKS_AT_ONCE)),
        read * (full + (over > 0)),
        outputs * places,
        outputs * inputs * window,
        1.0,
    )


def coefficients(rows: Sequence[Sequence[float]], times: Sequence[float]) -> Numbers:
    """Weights of the terms, none negative, so that `rows` [n, terms] give `times` [n].

    Least squares of relative errors.
    """
    a, y = np.array(rows, np.float64), np.array(times, np.float64)
    size = np.abs(a).max(axis=0)
    size[size == 0] = 1.0
    weight = 1 / np.hypot(y, _SHORT * y.max())
    found, _ = nnls(a / size * weight[:, None], y * weight)
    return np.asarray(found / size, np.float64)
