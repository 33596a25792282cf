"""Images one after the other in a file that nobody else sees: memory stays small."""

import errno
from collections.abc import Iterable
from tempfile import TemporaryFile, gettempdir
from typing import IO

import numpy as np
import numpy.typing as npt

from compress.python.samples import Pixels, label_of, pixels_of
from runtime.errors import InputRejectedError, RecipeError

Labels = npt.NDArray[np.int64]
Pairs = Iterable[tuple[object, object]]


def stored(pairs: Pairs, *, name: str) -> tuple[Pixels, Labels]:
    """Pairs of image and label as memory-mapped uint8 [n, h, w, 3], and int64 [n].

    `name` is what sentences call the data. Images of two sizes, no images, or what
    `pixels_of` and `label_of` refuse are an InputRejectedError; a full disk is a
    RecipeError.
    """
    try:
        with TemporaryFile(prefix="edgepress-") as place:
            sides, labels = _appended(pairs, place, name)
            place.flush()
            shape = (len(labels), *sides)
            return np.memmap(place, np.uint8, "r", shape=shape), labels
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise RecipeError(
            f"{name}: {gettempdir()} has no room for its images; set TMPDIR to a "
            "folder on a larger disk"
        ) from error


def _appended(
    pairs: Pairs, place: IO[bytes], name: str
) -> tuple[tuple[int, ...], Labels]:
    """Write every image to `place`: the shape that all of them have, and the labels."""
    shape: tuple[int, ...] | None = None
    labels: list[int] = []
    for image, label in pairs:
        where = f"{name}: image {len(labels)}"
        pixels = pixels_of(image, where=where)
        shape = shape or pixels.shape
        if pixels.shape != shape:
            raise InputRejectedError(
                f"{where}: is {pixels.shape[0]}x{pixels.shape[1]} pixels and the first "
                f"is {shape[0]}x{shape[1]}; give them one size (Resize), or the folder "
                "that they lie in as 'folder:PATH'"
            )
        labels.append(label_of(label, where=where))
        place.write(pixels.tobytes())
    if shape is None:
        raise InputRejectedError(f"{name}: holds no images")
    return shape, np.asarray(labels, np.int64)
