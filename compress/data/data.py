"""The data a run works on: decoded images on disk, labels, and batches of both."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from compress.context.cache import Hold
from compress.data.seal import Seal


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
    says why, in the same order; `notes` says what was done to the others. `read` is
    the way to pixels that are held against `seal`; `hold` keeps them in the cache.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    size: int
    digest: str
    skipped: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seal: Seal | None = None
    hold: Hold | None = None

    def __post_init__(self) -> None:
        """Pixels and seal are taken apart together (`only`), or not at all."""
        if self.seal is not None and len(self.seal) != len(self.pixels):
            raise ValueError(f"{len(self.pixels)} images, a seal of {len(self.seal)}")

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    def read(
        self, rows: npt.NDArray[np.int64], window: slice = slice(None)
    ) -> npt.NDArray[np.uint8]:
        """The pixels of `rows`, checked: uint8 [n, store, store, 3], or a `window`."""
        if self.seal is not None:
            self.seal.check(self.pixels, rows)
        return self.pixels[rows, window, window]

    def only(self, rows: slice) -> "Images":
        """Some of the images, without reading any."""
        return replace(
            self,
            pixels=self.pixels[rows],
            labels=self.labels[rows],
            seal=None if self.seal is None else self.seal.only(rows),
        )

    def taken(self, rows: npt.NDArray[np.int64]) -> "Images":
        """A few of the images, read into memory. rows: int64 [n]."""
        pixels, labels = self.read(rows), self.labels[rows]
        return replace(self, pixels=pixels, labels=labels, seal=None)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set as a run sees it; a missing split is None."""

    name: str
    classes: tuple[str, ...]
    train: Images | None
    val: Images | None
    indexed: bool = False  # classes are bare output indices, without names
