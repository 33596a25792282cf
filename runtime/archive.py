"""Zips from elsewhere: what goes wrong in them, and how much of one is unpacked."""

import zipfile
import zlib
from pathlib import Path
from typing import Final

from runtime.errors import InputRejectedError

# No zip or another checksum; a broken or a short stream; a password, or a compression
# that Python lacks (which is a RuntimeError, too); sizes and names that make no sense.
BAD_ZIP: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)

# Of the archive within a model file, which lists a handful of members.
_LONGEST_LIST: Final = 1 << 20
_END_MARK: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_LONGEST_COMMENT: Final = 1 << 16


def check_list(path: Path) -> None:
    """Refuse a zip whose list of members alone would fill the memory.

    `zipfile` reads all of it before anybody can look.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - _END_BYTES - _LONGEST_COMMENT))
        tail = stream.read()
    at = tail.rfind(_END_MARK)
    announced = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    if announced > _LONGEST_LIST:
        raise InputRejectedError(
            f"{path}: the archive in it lists its members in {announced} bytes; "
            f"allowed: {_LONGEST_LIST}"
        )


def unpacked(archive: zipfile.ZipFile, name: str, *, largest: int) -> bytes:
    """One member of at most `largest` bytes; a longer one is a ValueError.

    A name that is not there is a KeyError; BAD_ZIP lists what else may come.
    """
    size = archive.getinfo(name).file_size
    if size > largest:
        raise ValueError(f"{name} has {size} bytes; allowed: {largest}")
    return archive.read(name)
