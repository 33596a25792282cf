"""Augmented views of images: each a function of (seed, view, index) and the pixels."""

from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from compress.context.vision import torchvision
from compress.data.data import Data, Images
from compress.data.keyed_rng import uniforms
from compress.data.randaugment import OPERATIONS, STRONGEST
from runtime.resize import middle

_functional = torchvision.transforms.v2.functional

# What "pad" and "resized" mean; counts up when a view's pixels would change.
_FORMAT: Final = 1
# He et al. 2016 pad CIFAR's 32x32 by 4 on each side: an eighth of the side.
_PAD_SHARE: Final = 8
# Szegedy et al. 2015: 8 % to 100 % of the area, aspect ratio 3/4 to 4/3; after ten
# tries torchvision takes the middle, and so do we.
_AREA: Final = (0.08, 1.0)
_RATIO: Final = (3 / 4, 4 / 3)
_TRIES: Final = 10
# Up to this side images are shifted (CIFAR's recipe), above it resized (ImageNet's).
_SMALL_SIDE: Final = 64


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How training images are varied.

    crop: "pad" shifts by up to an eighth of the side, what lies beyond the stored
    image is black; "resized" takes a random part and resizes it. flip: left and
    right. randaugment: magnitude 0 to 30 of two random operations (Cubuk et al. 2020).
    """

    crop: Literal["none", "pad", "resized"] = "pad"
    flip: bool = True
    randaugment: int | None = None

    def __post_init__(self) -> None:
        """Check the magnitude where it is given, before any work."""
        level = self.randaugment
        if level is not None and not 0 <= level <= STRONGEST:
            raise ValueError(f"randaugment: {level} is not in 0 to {STRONGEST}")

    def as_record(self) -> dict[str, object]:
        """Plain data that names the views, for a cache's key."""
        return {**asdict(self), "format": _FORMAT}


def default_augment(data: Data) -> Augment:
    """Choose what the field does with such images; characters are not mirrored."""
    shown = data.train if data.train is not None else data.val
    small = shown is None or shown.size <= _SMALL_SIDE
    characters = not data.indexed and all(len(kind) == 1 for kind in data.classes)
    return Augment(crop="pad" if small else "resized", flip=not characters)


def augmented(
    images: Images,
    rows: npt.NDArray[np.int64],
    *,
    augment: Augment,
    seed: int,
    view: int,
) -> Tensor:
    """Draw one view of each row: uint8 [n, 3, size, size], channels last in memory.

    rows: int64 [n]. An image's view does not depend on the images beside it.
    """
    stored = torch.from_numpy(images.read(rows)).permute(0, 3, 1, 2)
    size = images.size
    if augment.crop == "pad":
        parts = _shifted(stored, size, uniforms("shift", seed, view, rows, 2))
    elif augment.crop == "resized":
        parts = _resized(stored, size, uniforms("part", seed, view, rows, 4 * _TRIES))
    else:
        start = middle(stored.shape[-1], size)
        end = start + size
        parts = list(stored[:, :, start:end, start:end].unbind())
    if augment.flip:
        mirrored = uniforms("flip", seed, view, rows, 1)[:, 0] < 0.5  # noqa: PLR2004
        parts = [
            _functional.horizontal_flip(part) if turn else part
            for part, turn in zip(parts, mirrored, strict=True)
        ]
    if augment.randaugment is not None:
        strength = augment.randaugment / STRONGEST
        draws = uniforms("randaugment", seed, view, rows, 4)
        parts = [
            _varied(part, draw, strength)
            for part, draw in zip(parts, draws, strict=True)
        ]
    return torch.stack(parts).contiguous(memory_format=torch.channels_last)


def _shifted(stored: Tensor, size: int, draws: npt.NDArray[np.float64]) -> list[Tensor]:
    """Crop around the middle, off by up to an eighth; uint8 [3, size, size] each."""
    start, pad = middle(stored.shape[-1], size), size // _PAD_SHARE
    corners = (start - pad + np.floor(draws * (2 * pad + 1))).astype(np.int64)
    return [  # v2's crop fills what lies outside with black
        _functional.crop(image, top, left, size, size)
        for image, (top, left) in zip(stored.unbind(), corners.tolist(), strict=True)
    ]


def _resized(stored: Tensor, size: int, draws: npt.NDArray[np.float64]) -> list[Tensor]:
    """RandomResizedCrop with the draws given; uint8 [3, size, size] each."""
    store = stored.shape[-1]
    share, ratio, down, right = np.split(draws, 4, axis=1)  # each [n, tries]
    area = store * store * (_AREA[0] + share * (_AREA[1] - _AREA[0]))
    low, high = np.log(_RATIO)
    aspect = np.exp(low + ratio * (high - low))
    width = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    height = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (width > 0) & (width <= store) & (height > 0) & (height <= store)
    tries = fits.argmax(axis=1)
    parts: list[Tensor] = []
    for row, attempt in enumerate(tries.tolist()):
        high_px, wide_px = int(height[row, attempt]), int(width[row, attempt])
        if not fits[row, attempt]:
            high_px = wide_px = store
        top = int(down[row, attempt] * (store - high_px + 1))
        left = int(right[row, attempt] * (store - wide_px + 1))
        parts.append(
            _functional.resized_crop(
                stored[row], top, left, high_px, wide_px, [size, size], antialias=True
            )
        )
    return parts


def _varied(image: Tensor, draws: npt.NDArray[np.float64], strength: float) -> Tensor:
    """Apply two operations of RandAugment; uint8 [3, size, size]."""
    for which, sign in draws.reshape(2, 2).tolist():
        operation = OPERATIONS[int(which * len(OPERATIONS))]
        image = operation(image, strength, -1 if sign < 0.5 else 1)  # noqa: PLR2004
    return image
