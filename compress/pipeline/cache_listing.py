"""The cache seen from outside: what is in it, whether it is sound, and making room."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from compress.context.cache import hold
from runtime.drafts import bytes_of, draft_name, lock, sweep
from runtime.errors import EdgepressError, Exit, one_line
from runtime.files import read_json, sha256_of

# Within which an entry counts as in use, where the file system knows no locks.
_RECENT_SECONDS: Final = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A thing that runs share; `idle_seconds`: since a run last asked for it."""

    kind: str
    name: str
    size_bytes: int
    idle_seconds: float
    in_use: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An entry and what is wrong with it, or why it could not be removed."""

    kind: str
    name: str
    fault: str | None = None


def entries(cache: Path) -> list[Entry]:
    """Everything in `cache`, what was used longest ago first."""
    found = [_entry(path) for path in _paths(cache)]
    return sorted((each for each in found if each), key=lambda each: -each.idle_seconds)


def verified(cache: Path) -> Iterator[Verdict]:
    """Hold every entry of `cache` against the digests that it carries."""
    for path in _paths(cache):
        kept = hold(path, used=False)
        try:
            fault = _KINDS[path.parent.name](path)
        except (EdgepressError, OSError, LookupError, ValueError) as error:
            fault = one_line(error)
        del kept
        yield Verdict(kind=path.parent.name, name=path.name, fault=fault)


def cleared(cache: Path, max_bytes: int | None) -> tuple[int, list[Verdict]]:
    """Remove what killed runs left, then what was used longest ago until it fits.

    Gives the bytes that were freed, and each entry in question with the reason why it
    is still there; without `max_bytes` no entry is.
    """
    freed = sweep(cache)
    there = entries(cache)
    left = sum(each.size_bytes for each in there)
    done = []
    for each in there:
        if max_bytes is None or left <= max_bytes:
            break
        fault = _removed(cache / each.kind / each.name)
        done.append(Verdict(kind=each.kind, name=each.name, fault=fault))
        if fault is None:
            freed += each.size_bytes
            left -= each.size_bytes
    return freed, done


def _paths(cache: Path) -> Iterator[Path]:
    """Every entry; drafts, and what we know nothing of, are none."""
    for kind in _KINDS:
        folder = cache / kind
        if folder.is_dir():
            yield from (
                path for path in sorted(folder.iterdir()) if path.name[0] != "."
            )


def _entry(path: Path) -> Entry | None:
    """The facts about an entry; None if it was removed meanwhile."""
    try:
        facts = path.stat()
        return Entry(
            kind=path.parent.name,
            name=path.name,
            size_bytes=bytes_of(path),
            idle_seconds=max(0.0, time.time() - facts.st_mtime),
            in_use=_taken(path),
        )
    except FileNotFoundError:
        return None


def _taken(path: Path) -> bool:
    """Whether a living process holds an entry."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return _busy(handle)
    finally:
        os.close(handle)


def _busy(handle: int) -> bool:
    """Whether another process holds what was opened; it is locked if not."""
    free = lock(handle, shared=False)
    recent = time.time() - os.fstat(handle).st_mtime < _RECENT_SECONDS
    return free is False or (free is None and recent)


def _removed(path: Path) -> str | None:
    """Remove an entry that nobody holds; else the reason why it stays.

    It is moved aside first: who looks for it finds all of it or nothing.
    """
    if not os.access(path, os.W_OK):
        return "belongs to another user"
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            if _busy(handle):
                return "in use"
            aside = path.rename(draft_name(path))
            shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
        finally:
            os.close(handle)
    except OSError as error:
        return error.strerror or one_line(error)
    return None


def _of_pixels(entry: Path) -> str | None:
    """Every row of a pixel cache."""
    from compress.data.pixels import seal_of

    seal = seal_of(entry)
    if bad := sum(1 for _ in seal.altered()):
        return f"{bad} of {len(seal)} images were changed"
    return None


def _of_teacher(entry: Path) -> str | None:
    """Record and weights; one whose training goes on has neither."""
    from compress.models.checkpoint import RECORD, TENSORS

    if not (entry / RECORD).exists():
        return None
    record = read_json(entry / RECORD, sealed=True)
    same = record["sha256"] == sha256_of(entry / TENSORS)
    return None if same else f"{TENSORS} was changed"


def _of_answers(entry: Path) -> str | None:
    """Every view that is there with its record."""
    for record in sorted(entry.glob("*.json")):
        view = record.with_suffix(".f16")
        if read_json(record).get("sha256") != sha256_of(view):
            return f"{view.name} was changed"
    return None


def _of_latencies(entry: Path) -> str | None:
    """The record, which is all there is."""
    read_json(entry, sealed=True)
    return None


def _of_arm64(entry: Path) -> str | None:
    """Packages that apt and pip held against digests before they unpacked them."""
    return None if any(entry.iterdir()) else "nothing was unpacked"


_KINDS: Final[dict[str, Callable[[Path], str | None]]] = {
    "pixels": _of_pixels,
    "teachers": _of_teacher,
    "answers": _of_answers,
    "latencies": _of_latencies,
    "arm64": _of_arm64,
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """The answer of `compress cache`: entries with their facts, and a closing line."""

    cache: Path
    rows: tuple[tuple[Entry | Verdict, str], ...]  # with the line for a person
    facts: dict[str, int]
    closing: str
    exit_code: int = Exit.FIT

    def as_json(self) -> str:
        """{cache, entries[…], …}."""
        listed = [asdict(row) for row, _ in self.rows]
        record = {"cache": str(self.cache), "entries": listed, **self.facts}
        return json.dumps(record, indent=2)

    def as_text(self) -> str:
        """A line an entry, then what it comes to."""
        return "\n".join([*(line for _, line in self.rows), self.closing])
