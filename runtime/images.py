"""Image files as a model file is fed them, on a machine that may have numpy only.

JPEG, PNG and the like are decoded by Pillow, by the code that training uses; without
Pillow there are PPM, PGM and NPY files of eight bits, which numpy can read.
"""

import importlib.util
import io
import math
import re
import warnings
from pathlib import Path
from typing import Final

import numpy as np

from runtime.errors import InputRejectedError, MissingDependencyError, one_line
from runtime.files import read_bytes
from runtime.preprocess import Preprocess
from runtime.resize import Pixels, fed_pixels

# What a camera writes at most, and then some; the pixels have their own limit.
_LARGEST_BYTES: Final = 1 << 28
_NPY: Final = b"\x93NUMPY"
# netpbm: two letters, width, height and white, between which there may be comments.
_PNM: Final = re.compile(
    rb"P([56])(?:\s|#[^\n]*\n)+(\d{1,6})(?:\s|#[^\n]*\n)+(\d{1,6})"
    rb"(?:\s|#[^\n]*\n)+(\d{1,5})\s"
)
_WHITE: Final = 255
_COLORS: Final = 3


def fed_image(path: Path, preprocess: Preprocess) -> Pixels:
    """What a network is shown of the image at `path`: uint8 [size, size, 3].

    A file that is no image is an InputRejectedError; one that needs Pillow where there
    is none, a MissingDependencyError.
    """
    content = read_bytes(path, largest=_LARGEST_BYTES)
    try:
        image = _plain(content)
        if image is None:
            image = _decoded(content, path, exif=preprocess.exif)
        return fed_pixels(image, preprocess)
    except MissingDependencyError:
        raise
    except Exception as error:  # decoders raise what they like about a broken file
        reason = one_line(error).partition(" <_io")[0]
        raise InputRejectedError(
            f"{path}: not readable as an image: {reason}; give a JPEG, PNG, PPM, BMP, "
            "TIFF, WEBP, GIF or NPY file"
        ) from error


def _plain(content: bytes) -> Pixels | None:
    """Pixels [h, w, 3] of a file that numpy can read; None for any other."""
    if content.startswith(_NPY):
        return _color(_of_npy(content))
    head = _PNM.match(content)
    if head is None or int(head[4]) != _WHITE:
        return None
    channels = _COLORS if head[1] == b"6" else 1
    shape = (int(head[3]), int(head[2]), channels)
    count = shape[0] * shape[1] * channels
    if not count or len(content) - head.end() < count:
        raise ValueError(f"ends before its {shape[1]}x{shape[0]} pixels do")
    return _color(np.frombuffer(content, np.uint8, count, head.end()).reshape(shape))


def _of_npy(content: bytes) -> Pixels:
    """The array of an NPY file that has as many bytes as its header promises."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("is an NPY file of another version than 1.0")
    shape, _, kind = np.lib.format.read_array_header_1_0(stream)
    if kind.hasobject or math.prod(shape) * kind.itemsize > len(content):
        raise ValueError(f"ends before its {kind} of shape {shape} do")
    stream.seek(0)
    found: Pixels = np.load(stream, allow_pickle=False)
    return found


def _color(image: Pixels) -> Pixels:
    """Gray [h, w], [h, w, 1] or color [h, w, 3] as color."""
    if image.dtype != np.uint8 or not image.size:
        raise ValueError(
            f"holds {image.dtype} of shape {image.shape}, not uint8 pixels"
        )
    if image.ndim == 2:  # noqa: PLR2004  # gray
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] not in {1, _COLORS}:  # noqa: PLR2004
        raise ValueError(f"has the shape {image.shape}; allowed: [h, w] or [h, w, 3]")
    return np.repeat(image, _COLORS // image.shape[2], axis=2)


def _decoded(content: bytes, path: Path, *, exif: bool) -> Pixels:
    """Pixels [h, w, 3] by Pillow, as training sees them."""
    if importlib.util.find_spec("PIL") is None:
        raise MissingDependencyError(
            f"{path}: decoding it needs Pillow, which is not installed; run: "
            "pip install pillow (or give a PPM, PGM or NPY file of 8 bits)"
        )
    from runtime.picture import opened, plain

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Pillow thinks of odd metadata
        with opened(content) as picture:
            flat = plain(picture, exif=exif).picture
            return np.asarray(flat.convert("RGB"), np.uint8)
