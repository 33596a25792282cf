"""A name becomes data: what is there is listed and checked; decoding comes later."""

import difflib
import itertools
import os
import warnings
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median_low
from typing import Final, Literal

import numpy as np

from compress.context.console import Console
from compress.data.builtin import BUILTIN
from compress.data.data import Data, Images
from compress.data.decode import UNREADABLE, Geometry
from compress.data.folders import from_folders, has_classes
from compress.data.image_source import FileSource, FolderSource, ZipSource
from compress.data.listing import Found, Listing, Place
from compress.data.pixels import open_images, remarks
from compress.data.spec import DataSpec
from compress.data.split import stratified
from compress.data.table import from_table
from runtime.errors import InputRejectedError, RecipeError
from runtime.preprocess import Preprocess

_LIST: Final = "labels.csv"
_LOOKED_AT: Final = 15  # images whose size is read to find the typical one


@dataclass(frozen=True, kw_only=True, eq=False)
class Catalog:
    """A data set, listed and checked but not decoded.

    native_size: shorter side of a typical image, pixels; `indexed`: classes are bare
    output indices. A split that does not exist is None (no train: evaluation only).
    exif: what was asked for; None leaves it to the network.
    """

    name: str
    classes: tuple[str, ...]
    indexed: bool
    native_size: int
    train: Listing | None
    val: Listing | None
    exif: bool | None = None
    cache: Path = field(repr=False)
    console: Console = field(repr=False)
    # How many images of a split could be decoded, once it was opened.
    _decoded: dict[str, int] = field(default_factory=dict, repr=False)
    _said: set[str] = field(default_factory=set, repr=False)

    def used(self, split: Literal["train", "val"]) -> int:
        """How many images there are; those that proved unusable do not count."""
        listing = self.train if split == "train" else self.val
        return self._decoded.get(split, 0 if listing is None else len(listing))

    def asked(self, preprocess: Preprocess) -> Preprocess:
        """How a network is fed these images: `preprocess`, and what was asked for."""
        return preprocess if self.exif is None else replace(preprocess, exif=self.exif)

    def judges(self, outputs: int) -> bool:
        """Whether the labels can tell right from wrong for so many outputs."""
        wanted = len(self.classes)
        return outputs == wanted or (self.indexed and outputs > wanted)

    def open(self, preprocess: Preprocess, *, train: bool = True) -> Data:
        """Decode every split once, as `preprocess` looks at it, or find it decoded.

        `train=False` leaves the training split out, for an evaluation. Raises
        InputRejectedError if a class has no image that can be decoded, RecipeError if
        the pixels do not fit on the disk.
        """
        geometry = Geometry.of(preprocess)

        def opened(listing: Listing | None, title: str) -> Images | None:
            if listing is None:
                return None
            images = open_images(
                listing,
                geometry,
                cache=self.cache / "pixels",
                console=self.console,
                title=f"{self.name} {title}",
            )
            self._decoded[title] = len(images)
            for sentence in remarks(images, listing, title=f"{self.name} {title}"):
                if sentence not in self._said:
                    self.console.tell(sentence)
                    self._said.add(sentence)
            return images

        trained = opened(self.train, "train") if train else None
        if trained is not None:
            counts = np.bincount(trained.labels, minlength=len(self.classes))
            if not counts.all():
                empty = self.classes[int(np.argmin(counts))]
                raise InputRejectedError(
                    f"{self.name}: no training image of class {empty!r} can be "
                    "decoded; replace the corrupt ones"
                )
        return Data(
            name=self.name,
            classes=self.classes,
            train=trained,
            val=opened(self.val, "val"),
            indexed=self.indexed,
        )

    def images(self, preprocess: Preprocess) -> Images:
        """What to judge by: held-out images, or where there are none the others."""
        opened = self.open(preprocess, train=self.val is None)
        images = opened.val if opened.val is not None else opened.train
        if images is None:
            raise InputRejectedError(f"data: {self.name} holds no images")
        return images


def find(spec: DataSpec, *, seed: int, console: Console, cache: Path) -> Catalog:
    """List what `spec` names and check it; nothing is decoded yet.

    `seed` chooses the subset that `spec.train_images` asks for; what is held out
    never depends on it. Raises RecipeError for what does not exist and
    InputRejectedError for what cannot be a data set.
    """
    found = _found(spec, console)
    train = found.train
    if spec.train_images is not None and train is not None:
        train = _subset(found, train, spec.train_images, seed)
    shown = found.val if found.val is not None else train
    if shown is None:
        raise InputRejectedError(f"{found.name}: holds no images")
    return Catalog(
        name=found.name,
        classes=found.classes,
        indexed=found.indexed,
        native_size=_typical_side(shown, found.name),
        train=train,
        val=found.val,
        exif=spec.exif,
        cache=cache,
        console=console,
    )


def _subset(found: Found, train: Listing, size: int, seed: int) -> Listing:
    """Fewer training images, every class by its share."""
    if size < len(found.classes):
        raise RecipeError(
            f"train_images: {size} is fewer than the {len(found.classes)} classes of "
            f"{found.name}; every class needs at least one"
        )
    if size >= len(train):
        return train
    return train.only(stratified(train.labels, size, seed=seed, purpose="subset"))


def _found(spec: DataSpec, console: Console) -> Found:
    """Tell a built-in set, a folder, a list and a zip apart."""
    source = spec.source.strip()
    if source in BUILTIN:
        return BUILTIN[source](spec.model_copy(update={"source": source}))
    prefix, colon, rest = source.partition(":")
    if colon and prefix == "folder":
        return _at(rest, "folder", spec, console)
    if colon and prefix == "csv":
        return _at(rest, "csv", spec, console)
    path = Path(source)
    looks_like_path = "/" in source or path.suffix.lower() in {".zip", ".csv"}
    if looks_like_path or _exists(path):
        return _at(source, None, spec, console)
    near = difflib.get_close_matches(source.lower(), BUILTIN, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise RecipeError(
        f"data: unknown source {source!r}{hint}; known: {', '.join(BUILTIN)}, "
        "folder:PATH, csv:PATH, or a .zip of either"
    )


def _at(
    place: str, kind: Literal["folder", "csv"] | None, spec: DataSpec, console: Console
) -> Found:
    """List what lies at a path; without a `kind`, class folders win over a list."""
    path = Path(os.path.expanduser(place))  # noqa: PTH111  # Path's raises for ~nobody
    if not place or not _exists(path):
        allowed = "a CSV file" if kind == "csv" else "a folder"
        raise RecipeError(
            f"data {place or '(empty)'}: no such file or folder; expected {allowed} or "
            "a .zip"
        )
    if not (path.is_file() or path.is_dir()):
        raise RecipeError(
            f"data {place}: is a pipe or a device; expected a folder, a CSV file or a "
            ".zip"
        )
    fraction = spec.val_fraction
    if path.is_file() and path.suffix.lower() == ".csv" and kind != "folder":
        name = path.stem if path.name != _LIST else path.resolve().parent.name
        beside = Place(FolderSource(path.parent), name, str(path))
        return from_table(beside, path.name, fraction=fraction, console=console)
    source: FileSource
    if path.is_dir():
        source, name = FolderSource(path), path.resolve().name
    elif path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        source, name = ZipSource.open(path), path.stem
    else:
        raise RecipeError(
            f"data {place}: is neither a folder nor a .zip; expected one of them, or "
            "csv:PATH for a list"
        )
    lists = _lists(source)
    if kind != "csv" and (has_classes(source.contents()) or not lists):
        at = Place(source, name, str(path))
        return from_folders(at, fraction=fraction, console=console)
    if len(lists) != 1:
        raise InputRejectedError(
            f"{path}: has {len(lists)} CSV files and none of them is {_LIST} at the "
            "top; name the list of images so"
        )
    at = Place(source, name, f"{path}/{lists[0]}")
    return from_table(at, lists[0], fraction=fraction, console=console)


def _exists(path: Path) -> bool:
    """Whether there is such a file; no for what cannot be a name."""
    try:
        return path.exists()
    except OSError:
        return False


def _lists(source: FileSource) -> list[str]:
    """Name the CSV files that could list a shelf's images; labels.csv wins."""
    if source.has(_LIST):
        return [_LIST]
    return [name for name in source.contents().files if name.lower().endswith(".csv")]


def _typical_side(listing: Listing, name: str) -> int:
    """Shorter side, pixels: the median of a few images spread over the listing."""
    count = len(listing)
    spread = sorted({row * count // _LOOKED_AT for row in range(_LOOKED_AT)})
    sides = [side for row in spread if (side := _side(listing, row)) is not None]
    if not sides:  # all of those are corrupt: any image that is not will do
        every = (_side(listing, row) for row in range(count))
        sides = list(itertools.islice((side for side in every if side), 1))
    if not sides:
        raise InputRejectedError(
            f"{name}: none of its {count} images can be read; they are corrupt or no "
            "images"
        )
    return median_low(sides)


def _side(listing: Listing, row: int) -> int | None:
    """Shorter side of one image, pixels, from its header; None if it is corrupt."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # decoding says what is wrong with it
            content = listing.source.content(listing.names[row])
            with listing.source.picture(content) as picture:
                return min(picture.size)
    except UNREADABLE:
        return None
