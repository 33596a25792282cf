"""The inventory: which boards this user has, by name; a file in their configuration."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from compress.devices.address import Address
from compress.devices.names import TAKEN, listed
from runtime.drafts import lock
from runtime.errors import DeviceError, InputRejectedError, RecipeError
from runtime.files import read_json, unwritable, write_json
from runtime.typed import Between, record_as

_FORMAT: Final = 1
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PATIENCE_S: Final = 5.0  # for another process that changes the file


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board of the inventory.

    python: the interpreter there, a name or a path, relative to the home there;
    ssh_config: a file instead of `~/.ssh/config`.
    """

    name: str
    address: Address
    python: str = "python3"
    ssh_config: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would be read as something else."""
        if not _NAME.fullmatch(self.name) or self.name in TAKEN:
            raise RecipeError(
                f"{self.name!r:.80} is no name for a device; allowed: letters, digits, "
                f"'.', '_' and '-', but none of {', '.join(sorted(TAKEN))}"
            )
        for what, path in (("--python", self.python), ("--config", self.ssh_config)):
            if path is not None and (
                not path or path.startswith(("-", "~")) or not path.isprintable()
            ):
                raise RecipeError(
                    f"{what} {path!r:.80}: is no path; allowed: a name or a path "
                    "(relative to the home there, without '~')"
                )

    def as_record(self) -> dict[str, object]:
        """Plain data, for the file and for scripts."""
        return {
            "url": str(self.address),
            "python": self.python,
            "ssh_config": self.ssh_config,
        }


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A board in the file."""

    url: str
    python: str = "python3"
    ssh_config: str | None = None


@dataclass(frozen=True, kw_only=True)
class _File:
    """All of the file."""

    format: Annotated[int, Between(1, _FORMAT)]
    devices: Mapping[str, _Entry] = field(default_factory=dict)


def inventory_file() -> Path:
    """Where the inventory lies: XDG_CONFIG_HOME, else ~/.config, in `edgepress`."""
    named = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        home = Path(named) if Path(named).is_absolute() else Path.home() / ".config"
    except RuntimeError as error:
        raise DeviceError(
            "the inventory of devices needs a home: set HOME or XDG_CONFIG_HOME"
        ) from error
    return home / "edgepress" / "devices.json"


def boards() -> dict[str, Board]:
    """Every board by name, in the order of names; empty where there is no file.

    A file that is none is an InputRejectedError.
    """
    path = inventory_file()
    if not path.exists():
        return {}
    try:
        found = record_as(_File, read_json(path), source=str(path))
        return {
            name: Board(
                name=name,
                address=Address.read(entry.url),
                python=entry.python,
                ssh_config=entry.ssh_config,
            )
            for name, entry in sorted(found.devices.items())
        }
    except RecipeError as error:
        raise InputRejectedError(f"{path}: {error}") from error


def add(board: Board) -> Board | None:
    """Write `board` down; gives the one that it replaces."""
    with _changing() as path:
        known = boards()
        before = known.get(board.name)
        _write(path, {**known, board.name: board})
    return before


def remove(name: str) -> Board:
    """Strike a board out, and give it; DeviceError if there is none of that name."""
    with _changing() as path:
        known = boards()
        if name not in known:
            raise unknown(name, known)
        gone = known.pop(name)
        _write(path, known)
    return gone


def unknown(name: str, known: Mapping[str, Board]) -> DeviceError:
    """The sentence for a name that is not in the inventory."""
    return DeviceError(
        f"{name}: no device of that name; known: {listed([*known]) or 'none yet'}; "
        f"`compress devices add {name} ssh://user@host` adds one"
    )


def _write(path: Path, known: Mapping[str, Board]) -> None:
    """Replace the file in one step."""
    devices = {name: board.as_record() for name, board in known.items()}
    write_json(path, {"format": _FORMAT, "devices": devices})


@contextmanager
def _changing() -> Iterator[Path]:
    """Be the only process that changes the file: two changes at once are both kept."""
    path = inventory_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while lock(handle, shared=False) is False:
            if time.monotonic() > deadline:
                raise DeviceError(f"{path}: another process is changing it; try again")
            time.sleep(0.02)
        yield path
    finally:
        os.close(handle)
