"""Small files of Linux' /proc and /sys, read as text and numbers; None where absent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

# What these files hold is a line or a few; a foreign tree may hold more.
_LONGEST: Final = 1 << 20


def text(path: Path) -> str | None:
    """A file's text without the blanks and zero bytes around it, or None."""
    try:
        with path.open("rb") as stream:
            found = stream.read(_LONGEST)
    except OSError:
        return None
    return found.decode("utf-8", "replace").strip("\0 \n") or None


def number(path: Path, *, base: int = 10) -> int | None:
    """The whole number that a file holds, or None."""
    try:
        return int(text(path) or "", base)
    except ValueError:
        return None


def numbers(root: Path, pattern: str) -> list[int]:
    """The whole numbers in the files that `pattern` finds below `root`, in order."""
    found = (number(path) for path in matches(root, pattern))
    return [each for each in found if each is not None]


def matches(root: Path, pattern: str) -> Iterator[Path]:
    """Paths below `root` that fit `pattern`, in order; none where it is unreadable."""
    try:
        yield from sorted(root.glob(pattern))
    except OSError:
        return
