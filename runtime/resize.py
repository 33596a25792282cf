"""Resize and crop images in numpy, bit for bit as Pillow and torchvision do.

Antialiased bilinear and bicubic resampling of uint8 pixels (Pillow's Resample.c): the
filter is widened by the scale, weights are whole numbers of 22 bits, and each of two
passes, one along rows and one along columns, is rounded to eight bits.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from runtime.picture import LARGEST_PIXELS
from runtime.preprocess import Preprocess

Pixels = npt.NDArray[np.uint8]
Kernel = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

_PRECISION_BITS: Final = 32 - 8 - 2
# Keys 1981, with the slope that Pillow and torch's antialiasing take.
_SLOPE: Final = -0.5


def _triangle(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Linear interpolation."""
    return np.maximum(0.0, 1.0 - np.abs(distance))


def _cubic(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cubic convolution."""
    x, a = np.abs(distance), _SLOPE
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))  # noqa: PLR2004


@dataclass(frozen=True, kw_only=True)
class _Filter:
    """A kernel and how far it reaches."""

    kernel: Kernel
    support: float


_FILTERS: Final = {
    "bilinear": _Filter(kernel=_triangle, support=1.0),
    "bicubic": _Filter(kernel=_cubic, support=2.0),
}


def fed_pixels(image: Pixels, preprocess: Preprocess) -> Pixels:
    """What a network is shown of an image [h, w, 3]: uint8 [size, size, 3].

    The shorter side is resized to `resize`, the middle of it kept twice: the square of
    that side, as training stores it, and the `size` x `size` that it looks at.
    """
    height, width = image.shape[:2]
    store, size = preprocess.resize, preprocess.size
    target = resized_to(width, height, short=store)
    image = resized(image, target, preprocess.interpolation)
    for side in (store, size):
        top, left = (middle(each, side) for each in image.shape[:2])
        image = image[top : top + side, left : left + side]
    return np.ascontiguousarray(image)


def resized_to(width: int, height: int, *, short: int) -> tuple[int, int]:
    """Width and height once the shorter side is `short`, as torchvision's Resize."""
    least, most = min(width, height), max(width, height)
    side = short * most // least
    if side * short > LARGEST_PIXELS:
        raise ValueError(f"{width}x{height} is too long and narrow to resize")
    return (short, side) if width <= height else (side, short)


def middle(side: int, size: int) -> int:
    """Where the middle `size` of `side` pixels starts, rounded as torchvision does."""
    return round((side - size) / 2)


def resized(
    image: Pixels,
    target: tuple[int, int],
    interpolation: Literal["bilinear", "bicubic"],
) -> Pixels:
    """Resize an image [h, w, 3] to `target`, its width and height."""
    width, height = target
    found = _FILTERS[interpolation]
    # From version 13 on Pillow goes along columns first where that is less work.
    fewer_rows, fewer_columns = image.shape[0] - height, image.shape[1] - width
    rows_first = fewer_rows <= max(0, 2 * fewer_columns)
    for along_rows in (rows_first, not rows_first):
        axis = 1 if along_rows else 0
        if target[1 - axis] != image.shape[axis]:
            moved = np.moveaxis(image, axis, 0)
            passed = _along_first(moved, target[1 - axis], found)
            image = np.moveaxis(passed, 0, axis)
    return np.ascontiguousarray(image)


def _along_first(image: Pixels, size: int, chosen: _Filter) -> Pixels:
    """One pass along the first axis: [n, m, 3] to [size, m, 3]."""
    lines = np.ascontiguousarray(image).reshape(len(image), -1)
    out = np.empty((size, lines.shape[1]), np.uint8)
    for at, (first, weights) in enumerate(_weights(len(lines), size, chosen)):
        # Whole numbers of 8 bits by 22: float64 holds their sum exactly.
        sums = weights @ lines[first : first + len(weights)].astype(np.float64)
        out[at] = np.clip(np.floor(sums / (1 << _PRECISION_BITS) + 0.5), 0, 255)
    return out.reshape(size, *image.shape[1:])


def _weights(
    size: int, width: int, chosen: _Filter
) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """For each new pixel, the first old one that counts, and the weights from there."""
    scale = size / width
    widened = max(scale, 1.0)
    support = chosen.support * widened
    for at in range(width):
        center = (at + 0.5) * scale
        first = max(0, int(center - support + 0.5))
        last = min(size, int(center + support + 0.5))
        places = np.arange(first, last, dtype=np.float64)
        distance = (places - center + 0.5) * (1.0 / widened)
        real: npt.NDArray[np.float64] = chosen.kernel(distance)
        total = _sum(real.tolist())
        if total:
            real = real * (1.0 / total)
        whole = real * (1 << _PRECISION_BITS)
        yield first, np.trunc(whole + np.where(whole < 0, -0.5, 0.5))


def _sum(values: list[float]) -> float:
    """The sum from left to right, as C takes it; numpy's own is pairwise."""
    total = 0.0
    for each in values:
        total += each
    return total
