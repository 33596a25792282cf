"""Which images there are and what they show, before any of them is decoded."""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from compress.data.image_source import FileSource, ImageSource
from compress.data.split import held_out
from runtime.errors import InputRejectedError

_NAMED = 5  # how many names a sentence can carry


@dataclass(frozen=True, eq=False)
class Listing:
    """One split as names on a source.

    labels: int64 [n], rows of the data set's `classes`, one for each name.
    """

    source: ImageSource
    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """How many images are listed."""
        return len(self.names)

    def only(self, rows: npt.NDArray[np.int64]) -> "Listing":
        """Keep some of the names. rows: int64 [m]."""
        names = tuple(self.names[row] for row in rows)
        return replace(self, names=names, labels=self.labels[rows])

    def key(self, *geometry: object) -> str:
        """Name a cache of these images by what can be seen without reading them."""
        digest = hashlib.sha256(repr((type(self.source).__name__, geometry)).encode())
        for name, label in zip(self.names, self.labels, strict=True):
            line = f"{name}\0{label}\0{self.source.stamp(name)}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Place:
    """A source, the data set's name, and where it is, for sentences."""

    source: FileSource
    name: str
    where: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What a source holds: its classes and its splits, checked."""

    name: str
    classes: tuple[str, ...]
    train: Listing | None
    val: Listing | None
    indexed: bool = False


def named(things: Collection[str]) -> str:
    """Spell the first few of many things: 'a', 'b' and 7 more."""
    first = ", ".join(repr(thing) for thing in sorted(things)[:_NAMED])
    return (
        first if len(things) <= _NAMED else f"{first} and {len(things) - _NAMED} more"
    )


def listed(
    source: ImageSource, pairs: Iterable[tuple[str, str]], classes: tuple[str, ...]
) -> Listing:
    """Make a listing of (name, class) pairs, sorted by name."""
    rows = {kind: row for row, kind in enumerate(classes)}
    ordered = sorted(pairs)
    labels = np.array([rows[kind] for _, kind in ordered], np.int64)
    return Listing(source, tuple(name for name, _ in ordered), labels)


def several(where: str, classes: Collection[str]) -> None:
    """Reject what cannot be told apart because there is nothing to tell apart."""
    if len(classes) < 2:  # noqa: PLR2004  # a choice needs two
        raise InputRejectedError(
            f"{where}: has only one class ({named(classes)}); a classifier needs at "
            "least two, so give images of another class as well"
        )


def alike(where: str, train: Collection[str], val: Collection[str]) -> None:
    """Reject splits whose classes differ."""
    missing, extra = set(train) - set(val), set(val) - set(train)
    if missing or extra:
        parts = [
            f"{named(those)} only in {split}"
            for those, split in ((missing, "train"), (extra, "validation"))
            if those
        ]
        raise InputRejectedError(
            f"{where}: train and validation differ in their classes: "
            f"{'; '.join(parts)}; both need the same ones"
        )


def divided(where: str, whole: Listing, found: Found, fraction: float) -> Found:
    """Hold out a share of every class of `whole`; the same images every time."""
    counts = np.bincount(whole.labels, minlength=len(found.classes))
    rare = [found.classes[row] for row in np.flatnonzero(counts < 2)]  # noqa: PLR2004
    if rare:
        raise InputRejectedError(
            f"{where}: class {named(rare)} has fewer than two images, one to train on "
            "and one to hold out; add images, or give train/ and val/ folders"
        )
    train, val = held_out(whole.labels, fraction)
    return replace(found, train=whole.only(train), val=whole.only(val))
