"""Images in a list: a CSV of path and label, with or without a header and a split."""

import csv
import io
import itertools
import posixpath
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from compress.context.console import Console
from compress.data.image_source import FileSource, is_image
from compress.data.listing import (
    Found,
    Listing,
    Place,
    alike,
    divided,
    listed,
    named,
    several,
)
from runtime.archive import BAD_ZIP
from runtime.errors import InputRejectedError
from runtime.files import too_large

_SPLITS: Final = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
# ImageNet-21k, the largest set of classes in use, has 21,841; an index far above is
# a mistake, and one class for every index below it would fill the memory.
_LARGEST_INDEX: Final = 99_999
# ImageNet's list has 1.3 million lines of about 40 bytes; a line is a path, at most
# 4,096 bytes (PATH_MAX), and a name. What is beyond would fill the memory.
LARGEST_BYTES: Final = 128 * 2**20
_LARGEST_LINES: Final = 2_000_000
_LONGEST_LINE: Final = 2**16


class _Row(NamedTuple):
    """One line of the list, checked as far as one line can be."""

    line: int
    path: str
    label: str
    split: str | None


class _Columns(NamedTuple):
    """Where in a line the three things stand; the first two are always there."""

    path: int
    label: int
    split: int | None


def _columns(where: str, first: list[str]) -> tuple[_Columns, bool]:
    """Find the columns, and whether the first line is a header."""
    words = [cell.strip().lower() for cell in first]
    if any(is_image(word) for word in words):
        return _Columns(0, 1, 2 if len(words) > 2 else None), False  # noqa: PLR2004
    for need in ("path", "label"):
        if need not in words:
            raise InputRejectedError(
                f"{where}: has no column {need!r}, only {named(words)}; the header "
                "must name 'path' and 'label' (and may name 'split')"
            )
    split = words.index("split") if "split" in words else None
    return _Columns(words.index("path"), words.index("label"), split), True


def _content(source: FileSource, where: str, file: str) -> bytes:
    """Read the list's bytes, if there are not too many."""
    try:
        size = source.size_bytes(file)
        if size > LARGEST_BYTES:
            raise ValueError(too_large(size, LARGEST_BYTES))
        content = source.content(file)
    except (OSError, *BAD_ZIP) as error:
        raise InputRejectedError(f"{where}: cannot be read: {error}") from error
    lines = max(content.count(b"\n"), content.count(b"\r"))
    if lines > _LARGEST_LINES:
        raise InputRejectedError(
            f"{where}: has {lines} lines; allowed: {_LARGEST_LINES}, one an image"
        )
    return content


def _lines(where: str, content: bytes) -> Iterator[str]:
    """Give the lines as text, with their ends, as `csv` wants them."""
    stream = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
    try:
        for number in itertools.count(1):
            line = stream.readline(_LONGEST_LINE + 1)
            if not line:
                return
            if len(line) > _LONGEST_LINE:
                raise InputRejectedError(
                    f"{where}, line {number}: is longer than {_LONGEST_LINE} "
                    "characters; expected path,label"
                )
            yield line
    except UnicodeDecodeError as error:
        raise InputRejectedError(f"{where}: not readable as text: {error}") from error


def _rows(source: FileSource, where: str, name: str) -> list[_Row]:
    """Read the lines; a broken one is named by its number."""
    content = _content(source, where, name)
    reader = csv.reader(_lines(where, content), strict=True)
    rows: list[_Row] = []
    columns: _Columns | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns, header = _columns(where, cells)
                if header:
                    continue
            at = f"{where}, line {reader.line_num}"
            row = _row(at, reader.line_num, cells, columns)
            rows.append(row._replace(path=_within(source, at, name, row.path)))
    except csv.Error as error:
        raise InputRejectedError(
            f"{where}, line {reader.line_num}: not readable as CSV ({error})"
        ) from error
    if not rows:
        raise InputRejectedError(
            f"{where}: lists no images; expected lines of path,label"
        )
    return rows


def _row(where: str, line: int, cells: list[str], columns: _Columns) -> _Row:
    """Take one line apart."""
    if len(cells) <= max(columns.path, columns.label):
        raise InputRejectedError(
            f"{where}: has {len(cells)} column(s), the label is missing; expected "
            "path,label"
        )
    path, label = cells[columns.path].strip(), cells[columns.label].strip()
    if not path or not label:
        raise InputRejectedError(f"{where}: path or label is empty; fill it in")
    split = None
    if columns.split is not None:
        word = cells[columns.split].strip() if columns.split < len(cells) else ""
        split = _SPLITS.get(word.lower())
        if split is None:
            raise InputRejectedError(
                f"{where}: unknown split {word!r}; known: {', '.join(_SPLITS)}"
            )
    return _Row(line, path, sys.intern(label), split)


def _within(source: FileSource, where: str, name: str, path: str) -> str:
    """Where on the source `path` lies, seen from the folder of the list `name`."""
    beside = posixpath.dirname(name)
    inside = source.inside(posixpath.join(beside, path) if beside else path)
    if inside is None:
        raise InputRejectedError(
            f"{where}: path {path!r} leads outside the list's folder; paths are "
            "relative to the list, and images lie beside or below it"
        )
    return inside


def _classes(where: str, rows: list[_Row]) -> tuple[tuple[str, ...], bool]:
    """Give the classes of all rows, and whether labels are bare indices."""
    names = {row.label for row in rows}
    numbers = {name for name in names if name.isascii() and name.isdigit()}
    if not numbers:
        return tuple(sorted(names)), False
    if numbers != names:
        wrong = min(
            (row for row in rows if row.label not in numbers), key=lambda row: row.line
        )
        raise InputRejectedError(
            f"{where}, line {wrong.line}: label {wrong.label!r} is not an index 0, 1, "
            "2 … although others are; use indices or class names throughout"
        )
    largest = max(int(number) for number in numbers)
    if largest > _LARGEST_INDEX:
        raise InputRejectedError(
            f"{where}: label {largest} is larger than the largest index allowed, "
            f"{_LARGEST_INDEX}; number the classes 0, 1, 2 …"
        )
    return tuple(str(index) for index in range(largest + 1)), True


def from_table(place: Place, file: str, *, fraction: float, console: Console) -> Found:
    """List the images that the CSV `file` of a source names.

    Labels that are integers are output indices: enough to evaluate with, and to train
    with if every index has images. Without a split column `fraction` is held out,
    where every class has images enough; else the whole list is for evaluation.
    """
    source, where = place.source, place.where
    rows = _rows(source, where, file)
    missing = {row.path for row in rows if not source.has(row.path)}
    if missing:
        raise InputRejectedError(
            f"{where}: {len(missing)} listed image(s) do not exist: {named(missing)}; "
            "paths are relative to the list"
        )
    classes, indexed = _classes(where, rows)
    several(where, {row.label for row in rows})
    parts: dict[str | None, list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        kind = str(int(row.label)) if indexed else row.label
        parts[row.split].append((row.path, kind))
    lists = {part: listed(source, pairs, classes) for part, pairs in parts.items()}
    found = Found(
        name=place.name, classes=classes, train=None, val=None, indexed=indexed
    )
    if None in lists:
        return _undivided(where, lists[None], found, fraction, console)
    found = replace(
        found, train=lists.get("train"), val=lists.get("val") or lists.get("test")
    )
    if found.train is not None:
        _every_class(where, found)
        if found.val is None:
            found = divided(where, found.train, found, fraction)
    return found


def _every_class(where: str, found: Found) -> None:
    """Reject a training split in which a class has no images."""
    if found.train is None:
        return
    counts = np.bincount(found.train.labels, minlength=len(found.classes))
    empty = [found.classes[row] for row in np.flatnonzero(counts == 0)]
    if empty and (found.indexed or found.val is None):
        raise InputRejectedError(
            f"{where}: class {named(empty)} has no images to train on; add some, or "
            "number the classes without gaps"
        )
    if found.val is not None and not found.indexed:
        seen = [
            {found.classes[row] for row in np.unique(part.labels)}
            for part in (found.train, found.val)
        ]
        alike(where, seen[0], seen[1])


def _undivided(
    where: str, whole: Listing, found: Found, fraction: float, console: Console
) -> Found:
    """Divide a list that has no split column, if it can be divided."""
    counts = np.bincount(whole.labels, minlength=len(found.classes))
    thin = [found.classes[row] for row in np.flatnonzero(counts < 2)]  # noqa: PLR2004
    if found.indexed and thin:
        console.tell(
            f"{where}: {len(thin)} of {len(found.classes)} indices have fewer than two "
            "images; the list can be used for evaluation only"
        )
        return replace(found, val=whole)
    console.tell(
        f"{where}: has no split column; {fraction:.0%} of every class is held out"
    )
    return divided(where, whole, found, fraction)
