"""Drafts: names that no other process has, locks that tell the living from the dead.

A draft is a folder of its own, `.NAME.TOKEN.part`, beside the file it is to become:
whatever a library leaves there when its process is killed goes with it.
"""

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

# Older ones end in a process id, which is no name: two containers may share it.
_DRAFT: Final = re.compile(r"\..+\.([0-9a-f]{16}|\d+)\.part")
# After which a draft is nobody's, where the file system knows no locks.
_STALE_SECONDS: Final = 86_400.0


def draft_name(path: Path) -> Path:
    """A name beside `path` that is nobody else's, whatever process or machine."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Hand out where a draft of `path` may be written; it is gone after the block."""
    folder, handle = _claimed(path)
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def lock(handle: int, *, shared: bool) -> bool | None:
    """Lock an open file or folder without waiting; closing it gives the lock back.

    False where another process holds it, None where the file system knows no locks.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # no Unix
        return None
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_still(path: Path, handle: int) -> bool:
    """Whether `path` is what was opened; another process may have removed it since."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def sweep(folder: Path) -> int:
    """Remove the drafts below `folder` whose process is gone; give their bytes.

    What this user may not touch stays.
    """
    freed = 0
    for draft in [*folder.rglob(".*.part")]:
        if _DRAFT.fullmatch(draft.name) is None:
            continue
        with suppress(OSError):  # another process sweeps here, too, or it is not ours
            handle = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                free = lock(handle, shared=False)
                age = time.time() - os.fstat(handle).st_mtime
                if free or (free is None and age > _STALE_SECONDS):
                    size = bytes_of(draft)
                    shutil.rmtree(draft) if draft.is_dir() else draft.unlink()
                    freed += size
            finally:
                os.close(handle)
    return freed


def bytes_of(path: Path) -> int:
    """What a file takes, or all files of a folder together."""
    files = path.rglob("*") if path.is_dir() else [path]
    total = 0
    for file in files:
        with suppress(FileNotFoundError):  # a draft that has taken its place
            total += file.lstat().st_size if not file.is_dir() else 0
    return total


def _claimed(path: Path) -> tuple[Path, int]:
    """A new folder for a draft of `path`, locked before anybody could sweep it."""
    while True:
        folder = draft_name(path)
        folder.mkdir()
        handle = os.open(folder, os.O_RDONLY)
        if lock(handle, shared=True) is not False and is_still(folder, handle):
            return folder, handle
        os.close(handle)
