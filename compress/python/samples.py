"""Samples of a program's own data: an image as uint8 pixels, a label as a number."""

import operator
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from runtime.errors import InputRejectedError
from runtime.picture import plain

Pixels = npt.NDArray[np.uint8]
_COLORS: Final = 3
_WHITE: Final = 255
_WANTED: Final = (
    "expected uint8 [3, h, w], [h, w, 3] or [h, w], floats of such a shape from 0 to "
    "1, or a PIL image"
)


def pixels_of(image: object, *, where: str) -> Pixels:
    """One image as uint8 [h, w, 3]; gray ones are repeated in every color.

    image: a PIL image, or a tensor or array, uint8 or floats in 0..1, channels first or
    last. Anything else, normalized values above all, is an InputRejectedError.
    """
    if isinstance(image, Image.Image):
        image = np.asarray(plain(image, exif=True).picture.convert("RGB"))
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else image
    if not isinstance(array, np.ndarray):
        raise InputRejectedError(f"{where}: is a {type(image).__name__}; {_WANTED}")
    return _eight_bits(_colored(array, where), where)


def label_of(label: object, *, where: str) -> int:
    """A label as the index of its class; what is none is an InputRejectedError."""
    try:
        found = operator.index(label.item() if isinstance(label, Tensor) else label)  # type: ignore[arg-type]  # asked here
    except (TypeError, RuntimeError, ValueError):
        found = -1
    if found < 0:
        raise InputRejectedError(
            f"{where}: the label is {label!r:.60}; expected the index of a class: 0, "
            "1, 2 …"
        )
    return found


def _colored(array: npt.NDArray[np.generic], where: str) -> npt.NDArray[np.generic]:
    """An image with its colors last, [h, w, 3]."""
    flat = array
    if array.ndim == _COLORS and 1 in (array.shape[0], array.shape[-1]):
        flat = array.squeeze(0 if array.shape[0] == 1 else -1)
    if flat.ndim == 2:  # noqa: PLR2004  # gray
        return np.repeat(flat[:, :, None], _COLORS, axis=2)
    if flat.ndim == _COLORS and flat.shape[-1] == _COLORS:
        return flat
    if flat.ndim == _COLORS and flat.shape[0] == _COLORS:
        return flat.transpose(1, 2, 0)
    raise InputRejectedError(f"{where}: has shape {list(array.shape)}; {_WANTED}")


def _eight_bits(array: npt.NDArray[np.generic], where: str) -> Pixels:
    """The same in eight bits a color."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputRejectedError(f"{where}: holds {array.dtype}; {_WANTED}")
    values = array.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise InputRejectedError(
            f"{where}: values from {low:.3g} to {high:.3g}; expected uint8, or floats "
            "from 0 to 1: leave Normalize out, and say what it did with preprocess="
            "compress.Preprocess(size=…, resize=…, mean=…, std=…)"
        )
    return np.rint(values * _WHITE).astype(np.uint8)
