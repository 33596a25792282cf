"""Where a report comes from: when, by which command, of which version."""

import os
import shlex
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

# What a process is called that our own command line started.
_OURS = frozenset({"compress", "edgepress", "__main__.py"})
_HASH_LETTERS = 40


def provenance() -> dict[str, object]:
    """Plain data: date, command, version, and the revision of the folder it ran in.

    The command is None for a program that calls us as a library, the revision where the
    folder is no Git checkout.
    """
    started = Path(sys.argv[0] if sys.argv else "").name
    command = shlex.join(["compress", *sys.argv[1:]]) if started in _OURS else None
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "version": version("edgepress"),
        "revision": revision_of(Path()),
    }


def revision_of(folder: Path) -> str | None:
    """The commit that is checked out where `folder` lies, read without running Git."""
    try:
        for place in (folder.absolute(), *folder.absolute().parents):
            git = place / ".git"
            if git.is_file():  # a worktree names its folder
                told = git.read_text(encoding="utf-8")
                git = place / told.removeprefix("gitdir:").strip()
            if git.is_dir():
                return _head(git)
    except (OSError, ValueError):  # not readable, or no checkout after all
        return None
    return None


def _head(git: Path) -> str | None:
    """What HEAD comes to, through a branch that is loose or packed."""
    head = (git / "HEAD").read_text(encoding="utf-8").strip()
    name = head.removeprefix("ref:").strip()
    if name == head:
        return head if _is_hash(head) else None
    common = git / "commondir"
    if common.is_file():
        git = git / common.read_text(encoding="utf-8").strip()
    loose = git / os.path.normpath(name)
    if loose.is_file():
        found = loose.read_text(encoding="utf-8").strip()
        return found if _is_hash(found) else None
    packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
    hashes = (line.split()[0] for line in packed if line.endswith(f" {name}"))
    return next(filter(_is_hash, hashes), None)


def _is_hash(text: str) -> bool:
    return len(text) == _HASH_LETTERS and all(c in "0123456789abcdef" for c in text)
