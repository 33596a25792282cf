"""Weights of one layer that come nearest to wanted outputs, from streamed images."""

from collections.abc import Sequence
from typing import Final, TypeGuard

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

# Positions of a feature map that are looked at, for each image: neighbors say alike.
_POSITIONS: Final = 128
# Share of the mean variance of an input that is added to each: directions in which
# few images vary are left to the weights as they are.
_RIDGE: Final = 1e-2
# Inputs of a layer, kernel included, above which its normal equations are left alone:
# they would take gigabytes, and hours to solve.
WIDEST: Final = 2_500

Layer = nn.Conv2d | nn.Linear


def fits(layer: nn.Module) -> TypeGuard[Layer]:
    """Whether a layer's weights can be fitted: one group, and not too wide for it."""
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        return False
    grouped = isinstance(layer, nn.Conv2d) and layer.groups > 1
    return not grouped and layer.weight[0].numel() <= WIDEST


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

    def add(self, given: Tensor, wanted: Tensor, answer: Tensor) -> None:
        """One batch: what the layer is given, what it should make of it, and does.

        given: float32 [n, in, h, w], the others [n, out, h', w'] for a convolution;
        [..., in] and [..., out] for a linear layer.
        """
        lacking = wanted - answer
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
        change = torch.linalg.solve(self._ridged(xx), xr)
        shift = r - x @ change if shifted else torch.zeros_like(r)
        weight = self.layer.weight.detach().flatten(1).double() + change.T
        return weight.float(), shift.float()

    def without_others(self, left: Tensor, *, shifted: bool) -> tuple[Tensor, Tensor]:
        """As `solution`, from the inputs `left` alone: weights [out, left k k], shift.

        For a layer that lacked nothing: what comes nearest to what it gives itself.
        """
        xx, x = self._xx / self._rows, self._x / self._rows
        if shifted:
            xx = xx - torch.outer(x, x)
        at = _columns(left, self.layer.weight[0, 0].numel())
        rows = self._ridged(xx)[at]
        whole = self.layer.weight.detach().flatten(1).double()
        weight = torch.linalg.solve(rows[:, at], rows @ whole.T).T
        shift = whole @ x - weight @ x[at] if shifted else torch.zeros(len(weight))
        return weight.float(), shift.float()

    def reading(self) -> "Reading":
        """How the outputs depend on the inputs, to take inputs away one by one."""
        mean = self._x / self._rows
        centered = self._xx / self._rows - torch.outer(mean, mean)
        return Reading(self.layer, self._ridged(centered))

    def _ridged(self, xx: Tensor) -> Tensor:
        """A covariance with some of its mean variance in every direction.

        The more, the fewer rows there are for each of them: what few images never
        showed is not known to be superfluous.
        """
        share = _RIDGE + len(xx) / self._rows
        ridge = share * xx.diagonal().mean().clamp(min=1e-12)
        return xx + ridge * torch.eye(len(xx), dtype=xx.dtype)

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


class Reading:
    """A layer whose inputs go one by one, the weights of the others fitted each time.

    By the inverse of the inputs' covariance, as Hassibi & Stork 1993 take out single
    weights: removing a block costs tr(W_b inv(P_bb) W_b'), where P is that inverse.
    """

    def __init__(self, layer: Layer, covariance: Tensor) -> None:
        """covariance: float64 [d, d] of what `layer` reads."""
        self._taps = layer.weight[0, 0].numel()
        self._weight = layer.weight.detach().flatten(1).double()
        self._inverse = torch.linalg.inv(covariance)
        self._total = (self._weight @ covariance).mul(self._weight).sum()

    def costs(self, units: Sequence[Sequence[int]]) -> Tensor:
        """Share of the outputs' variance that is lost with each unit alone, [units]."""
        if len({len(unit) for unit in units}) > 1:  # some are not read here, or twice
            none = torch.zeros(1, dtype=torch.float64)
            return torch.cat([self.costs([u]) if u else none for u in units])
        columns = torch.stack(
            [_columns(torch.tensor(unit), self._taps) for unit in units]
        )
        blocks = torch.linalg.inv(self._inverse[columns[:, :, None], columns[:, None]])
        parts = self._weight[:, columns].permute(1, 0, 2)
        lost: Tensor = (parts @ blocks).mul(parts).sum((1, 2))
        return lost / self._total.clamp(min=1e-30)

    def remove_(self, unit: Sequence[int]) -> None:
        """Take a unit away, and let the other weights make up for it."""
        at = _columns(torch.tensor(unit), self._taps)
        block = torch.linalg.inv(self._inverse[at[:, None], at])
        rows = self._inverse[at]
        self._weight -= self._weight[:, at] @ block @ rows
        self._inverse -= rows.T @ block @ rows
        # What is gone has no weight, and nothing to do with the others, from here on.
        self._weight[:, at] = 0.0
        self._inverse[at] = 0.0
        self._inverse[:, at] = 0.0
        self._inverse[at, at] = 1.0


def _columns(channels: Tensor, taps: int) -> Tensor:
    """Where every tap of the kernel finds `channels`, in a row of inputs."""
    return (channels[:, None] * taps + torch.arange(taps)).flatten()


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
