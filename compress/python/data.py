"""Whatever a program holds as data, as the dataset that every stage reads."""

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from compress.context.console import Console
from compress.context.context import cache_folder
from compress.data.dataset import Dataset, find
from compress.data.listing import Listing, named, rows_of, several
from compress.data.spec import DataSpec
from compress.data.split import held_out
from compress.python.options import record_of
from compress.python.pairs import Source, classes_of, count_of, name_of, pairs_of
from compress.python.samples import Pixels
from compress.python.stored import Labels, Pairs, stored
from runtime.errors import InputRejectedError, RecipeError

Data: TypeAlias = Source | str | Dataset


def dataset(  # noqa: PLR0913  # what data may be, and what is said about it
    source: Data | None,
    *,
    val: Source | None = None,
    classes: Sequence[str] | None = None,
    val_fraction: float = 0.2,
    seed: int = 0,
    quiet: bool = False,
    **options: object,
) -> Dataset:
    """Images and labels, listed and checked, for every other function here.

    source: a text, as `--data` is (digits, folder:PATH, csv:PATH, cifar10 …), with
    `options` as its flags: root, download, train_images, exif; a torch `Dataset` or
    `DataLoader` of (image, label) pairs; or a tuple of images and labels. Images are
    PIL's; uint8 [3, h, w], [h, w, 3] or [h, w]; or floats of such a shape from 0 to 1,
    *before* Normalize. Labels are the indices of classes.

    val: what to judge by, of the same kinds; by default `val_fraction` of every class
    is held out, the same images every time. None as `source`: images to judge by only.
    classes: their names; by default those that a Dataset has, or else numbers.

    A Dataset is read once, image by image, into a temporary file that goes when the
    result does; what it augments is drawn once, and augmented here again. Raises
    InputRejectedError for images or labels that are none, RecipeError for what does
    not exist.
    """
    if isinstance(source, Dataset):
        return source
    console = Console(verbosity="quiet" if quiet else "normal")
    if isinstance(source, str):
        if val is not None or classes is not None:
            raise RecipeError(
                f"dataset: {source!r} brings its own classes and images to judge by; "
                "leave val and classes out"
            )
        options |= {"source": source, "val_fraction": val_fraction}
        spec = record_of(DataSpec, options, "dataset", hidden={"size"})
        return find(spec, seed=seed, console=console, cache=cache_folder())
    if options:
        raise RecipeError(
            f"dataset: {', '.join(options)}: for data by name; leave it out"
        )
    if source is None and val is None:
        raise RecipeError("dataset: no data; give a name, a Dataset, or arrays")
    if not 0 < val_fraction < 1:
        raise RecipeError(f"dataset: val_fraction is {val_fraction}; allowed: 0 to 1")
    return _read(source, val, classes, val_fraction, console)


def _read(
    source: Source | None,
    val: Source | None,
    classes: Sequence[str] | None,
    fraction: float,
    console: Console,
) -> Dataset:
    """The splits as a dataset; what is kept of them goes when it does."""
    splits = [each for each in (val, source) if each is not None]
    name = name_of(splits[-1])
    parts = [_stored(each, name, console) for each in splits]
    high_wide = parts[0][0].shape[1:3]
    names = classes or classes_of(splits[-1])
    count = _checked(names, np.concatenate([labels for _, labels in parts]), name)
    if len(set(high_wide)) > 1:
        console.tell(
            f"{name}: of images of {high_wide[1]}x{high_wide[0]} the middle square is "
            "used"
        )
    listings = [rows_of(*part) for part in parts]
    train = None if source is None else listings[-1]
    judge = None if val is None else listings[0]
    if train is not None and judge is None:
        train, judge = _divided(train, fraction, name)
    folder = Path(tempfile.mkdtemp(prefix="edgepress-"))
    made = Dataset(
        name=name,
        classes=tuple(names or map(str, range(count))),
        indexed=names is None,
        native_size=min(high_wide),
        train=train,
        val=judge,
        cache=folder,
        console=console,
    )
    weakref.finalize(made, shutil.rmtree, folder, ignore_errors=True)
    return made


def _stored(source: Source, name: str, console: Console) -> tuple[Pixels, Labels]:
    """One split in a temporary file."""
    with console.progress(f"reading {name}", count_of(source)) as advance:

        def told() -> Pairs:
            for pair in pairs_of(source, name=name):
                yield pair
                advance(1, "read once, then kept")

        return stored(told(), name=name)


def _checked(names: Sequence[str] | None, labels: Labels, name: str) -> int:
    """How many classes there are; labels beyond the names, or of one class: refused."""
    present = np.unique(labels)
    count = int(present[-1]) + 1
    if names is not None and len(names) < count:
        raise InputRejectedError(
            f"{name}: has {len(names)} classes and the label {count - 1}; labels are "
            "their indices: 0, 1, 2 …"
        )
    several(name, {str(each) for each in present})
    return count


def _divided(whole: Listing, fraction: float, name: str) -> tuple[Listing, Listing]:
    """Hold out a share of every class."""
    kinds, counts = np.unique(whole.labels, return_counts=True)
    if rare := [str(kind) for kind in kinds[counts == 1]]:
        raise InputRejectedError(
            f"{name}: class {named(rare)} has one image, and needs one to train on and "
            "one to hold out; add images, or give val"
        )
    train, judge = held_out(whole.labels, fraction)
    return whole.only(train), whole.only(judge)
