"""Files that are either whole or not there, and their digests."""

import hashlib
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from runtime.drafts import draft_of
from runtime.errors import InputRejectedError, RecipeError
from runtime.plain_json import LARGEST_BYTES, json_record

_CHUNK_BYTES = 1 << 20
# In a record of JSON: the digest of all the rest of it.
SEAL = "record_sha256"


def cache_folder() -> Path:
    """Where things that several runs share are kept (EDGEPRESS_CACHE, else XDG)."""
    named = os.environ.get("EDGEPRESS_CACHE")
    return Path(named) if named else own_cache_folder()


def own_cache_folder() -> Path:
    """This user's own cache, whatever they share with others."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "edgepress"


def check_name(path: Path) -> None:
    """Refuse a path that no interpreter opens and no report can name: a RecipeError."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:  # whatever bytes a file system keeps
        raise RecipeError(
            f"{path}: is no name in UTF-8, and no interpreter opens any other; rename "
            "it"
        ) from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Hand out a draft beside `path` that takes its place only if the block succeeds.

    Any library may write to the draft. A full disk, or any other refusal of the
    operating system, becomes one sentence and leaves nothing half-written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft_of(path) as draft:
            yield draft
            # What others may read is the user's umask, not a library's caution.
            draft.chmod(draft.parent.stat().st_mode & 0o666)
            draft.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> RecipeError:
    """The sentence for a disk that refuses `path`."""
    reason = error.strerror or str(error)
    return RecipeError(
        f"{path}: cannot be written: {reason}; what was finished is kept; "
        "make room (or choose another --out) and run the same command again"
    )


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` in one step, so that a reader never sees half a file."""
    with written_whole(path) as draft:
        draft.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step with UTF-8 text."""
    write_bytes(path, text.encode("utf-8"))


def write_json(
    path: Path, record: Mapping[str, object], *, sealed: bool = False
) -> None:
    """Replace `path` in one step with `record`, keys sorted.

    `sealed`: with a digest of itself, which `read_json` holds it against.
    """
    text = json.dumps(record, indent=2, sort_keys=True)
    if sealed:  # of what a reader will find: keys are texts then
        whole = {**record, SEAL: digest_of(json.loads(text))}
        text = json.dumps(whole, indent=2, sort_keys=True)
    write_text(path, text + "\n")


def read_bytes(path: Path, *, largest: int) -> bytes:
    """`regular_bytes` whose complaints are sentences about `path`.

    Raises RecipeError where there is no file, InputRejectedError for what is none.
    """
    try:
        return regular_bytes(path, largest=largest)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RecipeError(f"{path}: no such file") from error
    except OSError as error:
        raise InputRejectedError(f"{path}: not readable: {error.strerror}") from error
    except ValueError as error:
        raise InputRejectedError(f"{path}: {error}") from error


def read_json(path: Path, *, sealed: bool = False) -> dict[str, object]:
    """Read the record that `path` holds, without its seal.

    A seal that is there must hold; `sealed`: and one must be there. What JSON may hold
    has limits, see `runtime.plain_json`.
    """
    content = read_bytes(path, largest=LARGEST_BYTES)
    record = json_record(content, source=str(path))
    seal = record.pop(SEAL, None)
    if sealed and seal is None:
        raise InputRejectedError(f"{path}: has no {SEAL}, so nothing vouches for it")
    if seal is not None and seal != digest_of(record):
        raise InputRejectedError(
            f"{path}: was changed since it was written; make it again (or, to keep the "
            f"change, remove the line {SEAL!r} from it)"
        )
    return record


def regular_bytes(path: Path, *, largest: int) -> bytes:
    """Read a regular file of at most `largest` bytes; ValueError for anything else.

    A pipe would make the reader wait and a device never ends. No more is read than the
    file is said to be long, so that neither does a file of /proc.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("is a pipe, a device or a folder, not a file")
    # Between looking and opening it may become a pipe, which must not make us wait.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
        facts = os.fstat(stream.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("is a pipe, a device or a folder, not a file")
        if facts.st_size > largest:
            raise ValueError(too_large(facts.st_size, largest))
        return stream.read(facts.st_size)


def too_large(size_bytes: int, largest: int) -> str:
    """What is wrong with a file that would exhaust the memory."""
    return f"{size_bytes / 1e6:.0f} MB is more than the {largest / 1e6:.0f} MB allowed"


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
