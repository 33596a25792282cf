"""What runs share: where an entry of the cache is made, and who is using it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.drafts import is_still, lock, sweep
from runtime.files import own_cache_folder


class Hold:
    """An entry that `compress cache gc` leaves alone for as long as this lives."""

    def __init__(self, handle: int) -> None:
        """Take over a locked file or folder."""
        self._handle = handle

    def __del__(self) -> None:
        """Closing it gives its lock back."""
        os.close(self._handle)


def hold(entry: Path, *, used: bool = True) -> Hold | None:
    """Keep `entry` from being removed and note that it is `used`; None if it is gone.

    Another user's entry may refuse the note; that is no reason not to use it.
    """
    while True:
        try:
            handle = os.open(entry, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return None
        if lock(handle, shared=True) is not False and is_still(entry, handle):
            if used:
                with suppress(OSError):
                    os.utime(entry)
            return Hold(handle)
        os.close(handle)  # it is being removed


def may_write(path: Path) -> bool:
    """Whether this user may write `path`, or make it where it would be."""
    above = (path, *path.absolute().parents)
    there = next(at for at in above if os.path.exists(at))  # noqa: PTH110  # Path's raises where it may not look
    return os.access(there, os.W_OK | os.X_OK if there.is_dir() else os.W_OK)


def places(entry: Path) -> tuple[Path, ...]:
    """Where CACHE/KIND/NAME may be: there, or where that is another's, in one's own.

    The last one is where it can be made.
    """
    own = own_cache_folder() / entry.parent.name / entry.name
    return (entry,) if may_write(entry) or own == entry else (entry, own)


def room_for(entry: Path) -> None:
    """Make the folder that CACHE/KIND/NAME is in, as open to others as CACHE is."""
    kind = entry.parent
    with suppress(OSError):  # of two processes one; writing says what is the matter
        kind.parent.mkdir(parents=True, exist_ok=True)
        kind.mkdir()
        kind.chmod(kind.parent.stat().st_mode & 0o7777)


@contextmanager
def making(entry: Path) -> Iterator[Hold | None]:
    """Hold CACHE/KIND/NAME while it is made, once drafts of the killed are gone."""
    room_for(entry)
    with suppress(OSError):  # writing its files says what is the matter
        entry.mkdir(exist_ok=True)
    held = hold(entry)
    sweep(entry)
    yield held
