"""The data a run works on: decoded images on disk, labels, and batches of both."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor


class Batch(NamedTuple):
    """Images as a loader gives them out: raw pixels, so that each model can look.

    index: int64 [n], rows of the data set; view: which augmentation was drawn;
    pixels: uint8 [n, 3, size, size]; labels: int64 [n].
    """

    index: Tensor  # type: ignore[assignment]  # tuple.index finds nothing here
    view: int
    pixels: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class Images:
    """One split, decoded: memory-mapped pixels of one size, and labels.

    pixels: uint8 [n, store, store, 3] with store >= size, on disk; the middle
    size x size is what an evaluation looks at. `digest` names the content (listing,
    bytes, geometry); `skipped` names the images that could not be decoded, `reasons`
    says why, in the same order; `notes` says what was done to the others.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    size: int
    digest: str
    skipped: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set as a run sees it; a missing split is None."""

    name: str
    classes: tuple[str, ...]
    train: Images | None
    val: Images | None
    indexed: bool = False  # classes are bare output indices, without names
