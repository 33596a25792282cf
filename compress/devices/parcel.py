"""What a board gets: our runtime as one archive, model files with their sidecars."""

import functools
import hashlib
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import runtime
from runtime.artifact import Artifact
from runtime.files import sha256_of

_RUNTIME: Final = Path(runtime.__file__).parent
# The same sources make the same archive, so that it is copied once.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A file to be copied: where it belongs there, its digest, and what it holds."""

    name: str
    sha256: str
    size_bytes: int
    content: bytes | Path

    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        """Its bytes from `start`, in parts of `length`."""
        if isinstance(self.content, bytes):
            for at in range(start, self.size_bytes, length):
                yield self.content[at : at + length]
            return
        with self.content.open("rb") as stream:
            stream.seek(start)
            # No further than was said, should it have grown.
            for at in range(start, self.size_bytes, length):
                yield stream.read(min(length, self.size_bytes - at))


@functools.cache
def runtime_piece(folder: Path = _RUNTIME) -> Piece:
    """The sources of `runtime`, packed; equal sources are equal bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.py")):
            name = Path("runtime", path.relative_to(folder)).as_posix()
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), path.read_bytes(), 8)
    content = packed.getvalue()
    return Piece(
        name="the runtime",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        content=content,
    )


def pieces_of(artifacts: Sequence[Artifact]) -> list[Piece]:
    """Each file in a folder of its own number, its sidecar beside it."""
    return [
        Piece(
            name=f"{number}/{path.name}",
            sha256=sha256_of(path),
            size_bytes=path.stat().st_size,
            content=path,
        )
        for number, artifact in enumerate(artifacts)
        for path in (artifact.path, artifact.sidecar)
        if path.is_file()
    ]
