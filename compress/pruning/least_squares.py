"""Weights of one layer that come nearest to wanted outputs, from streamed images."""

from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

# Positions of a feature map that are looked at, for each image: neighbours say alike.
_POSITIONS: Final = 128
# Share of the mean variance of an input that is added to each: directions in which
# few images vary are left to the weights as they are.
_RIDGE: Final = 1e-2

Layer = nn.Conv2d | nn.Linear


class LeastSquares:
    """Normal equations of what a layer lacks, summed over batches.

    With X the layer's inputs [rows, d] and R what its outputs lack [rows, outputs], it
    keeps sums of X'X, X'R, X and R: their sizes depend on the layer alone.
    """

    def __init__(self, layer: Layer, *, seed: int = 0) -> None:
        """For `layer`, of one group; `seed` draws the positions."""
        self.layer = layer
        self._rng = torch.Generator().manual_seed(seed)
        outputs, wide = layer.weight.shape[0], layer.weight[0].numel()
        self._xx = torch.zeros(wide, wide, dtype=torch.float64)
        self._xr = torch.zeros(wide, outputs, dtype=torch.float64)
        self._x = torch.zeros(wide, dtype=torch.float64)
        self._r = torch.zeros(outputs, dtype=torch.float64)
        self._rows = 0

    def add(self, given: Tensor, wanted: Tensor) -> None:
        """One batch: what the layer is given, and what it should make of it.

        given: float32 [n, in, h, w], wanted: [n, out, h', w'] for a convolution;
        [..., in] and [..., out] for a linear layer.
        """
        lacking = wanted - self.layer(given)
        if isinstance(self.layer, nn.Conv2d):
            x, r = self._patches(self.layer, given, lacking)
        else:
            x, r = given.flatten(0, -2), lacking.flatten(0, -2)
            if (most := _POSITIONS * len(given)) < len(x):
                rows = torch.randperm(len(x), generator=self._rng)[:most]
                x, r = x[rows], r[rows]
        self._xx += x.T @ x
        self._xr += x.T @ r
        self._x += x.sum(0)
        self._r += r.sum(0)
        self._rows += len(x)

    def solution(self, *, shifted: bool) -> tuple[Tensor, Tensor]:
        """Weights [out, d], and what to add to every output [out], as float32.

        Without `shifted` nothing may be added, and the weights do it alone.
        """
        xx, xr = self._xx / self._rows, self._xr / self._rows
        x, r = self._x / self._rows, self._r / self._rows
        if shifted:
            xx, xr = xx - torch.outer(x, x), xr - torch.outer(x, r)
        ridge = _RIDGE * xx.diagonal().mean().clamp(min=1e-12)
        xx = xx + ridge * torch.eye(len(xx), dtype=xx.dtype)
        change = torch.linalg.solve(xx, xr)
        shift = r - x @ change if shifted else torch.zeros_like(r)
        weight = self.layer.weight.detach().flatten(1).double() + change.T
        return weight.float(), shift.float()

    def _patches(
        self, layer: nn.Conv2d, given: Tensor, lacking: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Rows of inputs [n p, in k k] and of outputs [n p, out], at p positions."""
        height, width = lacking.shape[-2:]
        count = min(_POSITIONS, height * width)
        at = torch.randperm(height * width, generator=self._rng)[:count]
        top, left = at // width, at % width
        padded = _padded(layer, given, (height, width))
        rows = _taps(layer, 0, top)
        columns = _taps(layer, 1, left)
        # [n, in, p, kh, kw]: every tap of the kernel at every position.
        taken = padded[:, :, rows[:, :, None], columns[:, None, :]]
        x = taken.permute(0, 2, 1, 3, 4).reshape(len(given) * count, -1)
        r = lacking[:, :, top, left].permute(0, 2, 1).reshape(len(given) * count, -1)
        return x, r


def _taps(layer: nn.Conv2d, axis: int, at: Tensor) -> Tensor:
    """Where along `axis` the kernel reads for outputs `at` [p]: [p, k]."""
    reach = torch.arange(layer.kernel_size[axis]) * layer.dilation[axis]
    return at[:, None] * layer.stride[axis] + reach


def _padded(layer: nn.Conv2d, maps: Tensor, out: tuple[int, int]) -> Tensor:
    """`maps` with the zeros around them that the layer reads, whoever adds them.

    timm's TensorFlow-like layers and `padding="same"` put the smaller half first.
    """
    sides: list[int] = []
    for axis in (1, 0):  # F.pad begins with the last axis
        reach = (layer.kernel_size[axis] - 1) * layer.dilation[axis] + 1
        needed = (out[axis] - 1) * layer.stride[axis] + reach - maps.shape[axis - 2]
        own = type(layer) is nn.Conv2d and not isinstance(layer.padding, str)
        before = int(layer.padding[axis]) if own else max(needed, 0) // 2
        sides += [before, max(needed - before, 0)]
    return F.pad(maps, sides)
