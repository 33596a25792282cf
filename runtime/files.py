"""Files that are either whole or not there, and their digests."""

import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import InputRejectedError, RecipeError

_CHUNK_BYTES = 1 << 20


def cache_folder() -> Path:
    """Where things that several runs share are kept (EDGEPRESS_CACHE, else XDG)."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("EDGEPRESS_CACHE") or Path(home) / "edgepress")


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


def read_json(path: Path) -> dict[str, object]:
    """Read the object that `path` holds."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputRejectedError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(record, dict):
        raise InputRejectedError(
            f"{path}: holds a {type(record).__name__}, not a record"
        )
    return record


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


def file_name(text: str) -> str:
    """`text` as part of a file's name: harmless characters, at most 60."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[-60:]


def digest_of(*parts: object) -> str:
    """SHA-256, in hex, of plain data: the name of a thing by its content."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
