"""Files that are either whole or not there, and their digests."""

import hashlib
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from runtime.errors import InputRejectedError, RecipeError
from runtime.plain_json import LARGEST_BYTES, json_record

_CHUNK_BYTES = 1 << 20


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Hand out a draft beside `path` that takes its place only if the block succeeds.

    Any library may write to the draft. A full disk, or any other refusal of the
    operating system, becomes one sentence and leaves nothing half-written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RecipeError(
            f"{path}: cannot be written: {reason}; what was finished before is kept; "
            "make room (or choose another --out) and run the same command again"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` in one step, so that a reader never sees half a file."""
    with written_whole(path) as draft:
        draft.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step with UTF-8 text."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, record: Mapping[str, object]) -> None:
    """Replace `path` in one step with `record`, keys sorted."""
    write_text(path, json.dumps(record, indent=2, sort_keys=True) + "\n")


def read_bytes(path: Path, *, largest: int) -> bytes:
    """The content of a plain file of at most `largest` bytes.

    A pipe would be waited for and a device has no end, so neither is opened. Raises
    RecipeError where there is no file, InputRejectedError for what is none.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no plain file"
            raise InputRejectedError(f"{path}: is {kind}; give the file itself")
        if found.st_size > largest:
            raise InputRejectedError(
                f"{path}: has {found.st_size} bytes; allowed: {largest}"
            )
        with path.open("rb") as stream:
            # What /proc shows has no size until it is read.
            content = stream.read(largest + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RecipeError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise InputRejectedError(f"{path}: not readable: {reason}") from error
    if len(content) > largest:
        raise InputRejectedError(f"{path}: has over {largest} bytes")
    return content


def read_json(path: Path) -> dict[str, object]:
    """Read the record that `path` holds; see `runtime.plain_json` for its limits."""
    content = read_bytes(path, largest=LARGEST_BYTES)
    return json_record(content, source=str(path))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; memory does not grow with the file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def gzip_bytes_of(path: Path) -> int:
    """How many bytes a file takes once gzip, at its usual level 6, has packed it."""
    packer = zlib.compressobj(6, wbits=31)
    total = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            total += len(packer.compress(chunk))
    return total + len(packer.flush())


def path_within(folder: Path, name: str) -> Path:
    """The file that a record of `folder` calls `name`, which lies within it.

    A record may come from elsewhere, and `/` or `../` would lead there. Raises
    InputRejectedError.
    """
    there = PurePosixPath(name)
    if there.is_absolute() or ".." in there.parts or not there.parts or "\0" in name:
        raise InputRejectedError(
            f"{folder}: its record names the file {name!r:.60}; allowed: paths within "
            "the folder"
        )
    return folder / there


def file_name(text: str) -> str:
    """`text` as part of a file's name: harmless characters, at most 60."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[-60:]


def digest_of(*parts: object) -> str:
    """SHA-256, in hex, of plain data: the name of a thing by its content."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
