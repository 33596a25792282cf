"""Where images lie: a folder, a zip or an array, each read one image at a time."""

import posixpath
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from compress.data.walk import below, hidden
from runtime.archive import BAD_ZIP
from runtime.errors import InputRejectedError, RecipeError
from runtime.files import regular_bytes, too_large
from runtime.picture import opened

# As torchvision.datasets.folder.IMG_EXTENSIONS.
IMAGE_SUFFIXES: Final = frozenset(
    (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
)
# A file that is larger is no photograph; reading it whole could exhaust the memory.
LARGEST_FILE_BYTES: Final = 256 * 2**20
_ENCRYPTED: Final = 0x1  # PKWARE APPNOTE 4.4.4, bit 0 of the general purpose flag


class Contents(NamedTuple):
    """Files and folders of a source, posix names relative to it, sorted."""

    files: tuple[str, ...]
    folders: tuple[str, ...]


class ImageSource(Protocol):
    """A place that holds named images."""

    def content(self, name: str) -> bytes:
        """Read one file's bytes; OSError or one of BAD_ZIP if it fails."""
        ...

    def picture(self, content: bytes) -> Image.Image:
        """Decode bytes that `content` gave; lazily where the format allows it."""
        ...

    def stamp(self, name: str) -> str:
        """Tell one state of a file from another without reading it."""
        ...


class FileSource(ImageSource, Protocol):
    """A source whose files can be listed."""

    def contents(self) -> Contents:
        """List what is there, hidden files left out."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def inside(self, name: str) -> str | None:
        """Spell `name` relative to the source; None if it points outside."""
        ...

    def size_bytes(self, name: str) -> int:
        """How many bytes `content` would give."""
        ...


def is_image(name: str) -> bool:
    """Whether a file's name says that it is an image."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def _spelt(name: str) -> str | None:
    """Spell `name` relative and posix; None if it leads elsewhere."""
    posix = name.strip().replace("\\", "/")
    clean = posixpath.normpath(posix)
    outside = posix.startswith("/") or posix[1:2] == ":" or "\0" in posix
    if outside or clean == ".." or clean.startswith("../"):
        return None
    return clean


@dataclass(frozen=True)
class FolderSource:
    """Image files below a folder."""

    root: Path

    def contents(self) -> Contents:
        """Walk the folder; links are followed, loops are not."""
        return Contents(*below(self.root))

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.root / name).is_file()

    def inside(self, name: str) -> str | None:
        """Spell `name` relative to the folder; None if it points outside."""
        path = Path(name.strip())
        if path.is_absolute() and path.is_relative_to(self.root.resolve()):
            name = path.relative_to(self.root.resolve()).as_posix()
        return _spelt(name)

    def content(self, name: str) -> bytes:
        """Read one file's bytes."""
        return regular_bytes(self.root / name, largest=LARGEST_FILE_BYTES)

    def size_bytes(self, name: str) -> int:
        """How long the file is."""
        return (self.root / name).stat().st_size

    def picture(self, content: bytes) -> Image.Image:
        """Open an image of a format that is allowed."""
        return opened(content)

    def stamp(self, name: str) -> str:
        """Path, bytes and time of the last change."""
        try:
            facts = (self.root / name).stat()
        except OSError:
            return "missing"
        return f"{self.root.resolve()}:{facts.st_size}:{facts.st_mtime_ns}"


@dataclass(frozen=True)
class ZipSource:
    """Image files in a zip, which is never unpacked."""

    archive: zipfile.ZipFile
    members: Mapping[str, zipfile.ZipInfo]
    folders: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> "ZipSource":
        """Read the zip's directory; what is not a safe zip is rejected."""
        try:
            archive = zipfile.ZipFile(path)
        except BAD_ZIP as error:
            raise InputRejectedError(
                f"{path}: is not a readable zip ({error}); make it again or unpack it "
                "and give the folder"
            ) from error
        except OSError as error:
            raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
        members: dict[str, zipfile.ZipInfo] = {}
        folders: list[str] = []
        for info in archive.infolist():
            name = _spelt(info.filename)
            if name is None:
                raise InputRejectedError(
                    f"{path}: member {info.filename!r} points outside the zip; make "
                    "the zip again with relative names"
                )
            if info.flag_bits & _ENCRYPTED:
                raise InputRejectedError(
                    f"{path}: member {info.filename!r} is encrypted; make the zip "
                    "again without a password"
                )
            if hidden(name):
                continue
            if info.is_dir():
                folders.append(name)
            else:
                members[name] = info
        return cls(archive, members, tuple(sorted(folders)))

    def contents(self) -> Contents:
        """List the members."""
        return Contents(tuple(sorted(self.members)), self.folders)

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self.members

    def inside(self, name: str) -> str | None:
        """Spell `name` as the zip does; None if it points outside."""
        return _spelt(name)

    def content(self, name: str) -> bytes:
        """Read one member's bytes; the zip's own checksum is verified."""
        info = self.members[name]
        if info.file_size > LARGEST_FILE_BYTES:
            raise ValueError(too_large(info.file_size, LARGEST_FILE_BYTES))
        return self.archive.read(info)

    def size_bytes(self, name: str) -> int:
        """How long the member is when it is unpacked."""
        return self.members[name].file_size

    def picture(self, content: bytes) -> Image.Image:
        """Open an image of a format that is allowed."""
        return opened(content)

    def stamp(self, name: str) -> str:
        """Bytes and checksum as the zip's directory gives them."""
        info = self.members[name]
        return f"{info.file_size}:{info.CRC:08x}"


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Images that a library hands out as one array; a name is a row's number.

    pixels: uint8 [n, h, w] (gray) or [n, h, w, 3].
    """

    pixels: npt.NDArray[np.uint8]

    def content(self, name: str) -> bytes:
        """Give one row's pixels."""
        return bytes(self.pixels[int(name)].tobytes())

    def picture(self, content: bytes) -> Image.Image:
        """Take the pixels as they are."""
        shape = self.pixels.shape[1:]
        return Image.fromarray(np.frombuffer(content, np.uint8).reshape(shape))

    def stamp(self, name: str) -> str:
        """Checksum of the pixels."""
        return f"{self.pixels.shape[1:]}:{zlib.crc32(self.content(name)):08x}"
