"""The pixel cache: every image decoded once into one memory-mapped file."""

import hashlib
import shutil
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from compress.context.cache import hold, making, places
from compress.context.console import Console, counted
from compress.data.data import Images
from compress.data.decode import Decoded, Geometry, decoded_images
from compress.data.listing import Listing
from compress.data.seal import CHECKSUM_BYTES, Seal, checksums
from runtime.errors import InputRejectedError, RecipeError
from runtime.files import digest_of, read_json, write_json, written_whole

_FORMAT: Final = (
    2  # of the cache; counts up when pixels or sidecar change their meaning
)
PIXELS: Final = "pixels.u8"
SIDECAR: Final = "pixels.json"
# Decoded pixels that are all looked at before they are opened; the rows of a larger
# file are looked at as they are used.
_CHECKED_BYTES: Final = 64 * 2**20
_MARGIN_BYTES: Final = 64 * 2**20  # of disk left for what else the run writes
_TOLD: Final = 5  # skipped images that a sentence names


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shot:
    """A listing seen through a geometry, and the folder that keeps its pixels."""

    title: str
    listing: Listing
    geometry: Geometry
    folder: Path
    key: str


def _mapped(path: Path, count: int, geometry: Geometry) -> npt.NDArray[np.uint8]:
    """Map the pixel file, uint8 [count, store, store, 3], read-only."""
    shape = (count, geometry.store, geometry.store, 3)
    return np.memmap(path, np.uint8, mode="r", shape=shape)


def seal_of(folder: Path) -> Seal:
    """What vouches for the pixels in `folder`, once a process for the same file.

    Raises what `read_json` does, or a LookupError, ValueError or OSError, where there
    are none or they are not whole.
    """
    sidecar = read_json(folder / SIDECAR, sealed=True)
    count, row_bytes = sidecar["images"], sidecar["row_bytes"]
    file = folder / PIXELS
    facts = file.stat()
    if not isinstance(count, int) or not isinstance(row_bytes, int) or count < 1:
        raise ValueError(f"{folder / SIDECAR}: counts no images")
    if facts.st_size != count * (row_bytes + CHECKSUM_BYTES):
        raise ValueError(f"{file}: is not whole")
    made = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
    seal = _seal(file, count, made)
    if zlib.crc32(seal.expected.tobytes()) != sidecar["checksum"]:
        raise ValueError(f"{file}: its checksums were changed")
    return seal


@lru_cache(maxsize=64)
def _seal(file: Path, count: int, made: tuple[int, ...]) -> Seal:
    """A seal of which no row has been looked at."""
    del made  # tells files of the same name apart
    return Seal(
        file=file,
        sidecar=file.with_name(SIDECAR),
        expected=checksums(file, count),
        matched=np.zeros(count, np.bool_),
    )


def _kept(shot: _Shot) -> Images | None:
    """Open a cache, or None if it is not there, not whole or of other images."""
    held = hold(shot.folder)
    try:
        sidecar = read_json(shot.folder / SIDECAR, sealed=True)
        count, skipped, notes = sidecar["images"], sidecar["skipped"], sidecar["notes"]
        if not isinstance(count, int) or not isinstance(skipped, dict):
            return None
        if not isinstance(notes, dict):
            return None
        gone = {int(row) for row in skipped}
        keep = [row for row in range(len(shot.listing)) if row not in gone]
        whole = (
            (sidecar["format"], sidecar["key"]) == (_FORMAT, shot.key)
            and len(keep) == count
            and sidecar["row_bytes"] == shot.geometry.image_bytes
        )
        if not whole:
            return None
        seal = seal_of(shot.folder)
        small = count * shot.geometry.image_bytes <= _CHECKED_BYTES
        if small and not seal.matched.all() and any(True for _ in seal.altered()):
            return None
        return Images(
            pixels=_mapped(seal.file, count, shot.geometry),
            labels=shot.listing.labels[keep],
            size=shot.geometry.size,
            digest=digest_of(sidecar["digest"], shot.geometry.size),
            skipped=tuple(shot.listing.names[row] for row in sorted(gone)),
            seal=seal,
            hold=held,
            reasons=tuple(str(skipped[str(row)]) for row in sorted(gone)),
            notes=tuple(f"{counted(n, 'image')} {note}" for note, n in notes.items()),
        )
    except (OSError, RecipeError, InputRejectedError, KeyError, ValueError, IndexError):
        return None


def _room(shot: _Shot) -> None:
    """Refuse to start what cannot fit."""
    above = (shot.folder, *shot.folder.resolve().parents)
    there = next(at for at in above if at.exists())
    count, side = len(shot.listing), shot.geometry.store
    need = count * (shot.geometry.image_bytes + CHECKSUM_BYTES) + _MARGIN_BYTES
    free = shutil.disk_usage(there).free
    if need > free:
        raise RecipeError(
            f"{shot.title}: {count} images of {side}x{side} take {need / 1e9:.2f} GB "
            f"and {there} has {free / 1e9:.2f} GB free; make room, set EDGEPRESS_CACHE "
            "to a folder on a larger disk, or use fewer or smaller images"
        )


@dataclass(eq=False)
class _Tally:
    """What decoding has seen so far."""

    content: "hashlib._Hash"
    checksums: list[int] = field(default_factory=list)  # CRC-32 of each image
    skipped: dict[str, str] = field(default_factory=dict)  # row -> reason
    notes: Counter[str] = field(default_factory=Counter)  # note -> images

    def take(self, image: Decoded, listing: Listing, stream: BinaryIO) -> None:
        """Append one image to `stream`, or remember why there is none."""
        name, label = listing.names[image.row], listing.labels[image.row]
        line = f"{name}\0{label}\0{image.fact}\n"
        self.content.update(line.encode("utf-8", "surrogateescape"))
        self.notes.update(image.notes)
        if image.pixels is None:
            self.skipped[str(image.row)] = image.reason
        else:
            pixels = image.pixels.tobytes()
            stream.write(pixels)
            self.checksums.append(zlib.crc32(pixels))


def _build(shot: _Shot, console: Console) -> None:
    """Decode all images; the sidecar is written last and vouches for the pixels."""
    listing, geometry = shot.listing, shot.geometry
    looks = (_FORMAT, *geometry.stored)
    tally = _Tally(hashlib.sha256(repr(looks).encode()))
    with written_whole(shot.folder / PIXELS) as draft:
        # Appending, not mapping: on a full disk a write fails, a mapping kills.
        with (
            draft.open("wb") as stream,
            console.progress(f"decoding {shot.title}", len(listing)) as advance,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # what Pillow thinks of odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            for chunk in decoded_images(listing, geometry):
                for image in chunk:
                    tally.take(image, listing, stream)
                advance(len(chunk), "decoded once, then kept")
            behind = np.array(tally.checksums, "<u4").tobytes()
            stream.write(behind)
        if not tally.checksums:
            raise InputRejectedError(
                f"{shot.title}: none of its {len(listing)} images can be decoded; the "
                f"first one, {listing.names[0]}: {tally.skipped['0']}"
            )
    write_json(
        shot.folder / SIDECAR,
        {
            "format": _FORMAT,
            "key": shot.key,
            "digest": tally.content.hexdigest(),
            "images": len(tally.checksums),
            "store": geometry.store,
            "row_bytes": geometry.image_bytes,
            "checksum": zlib.crc32(behind),
            "skipped": tally.skipped,
            "notes": dict(sorted(tally.notes.items())),
        },
        sealed=True,
    )


def open_images(
    listing: Listing, geometry: Geometry, *, cache: Path, console: Console, title: str
) -> Images:
    """Find `listing` decoded below `cache`, or decode it there.

    A cache of other images, or one that was cut off or altered, is built again.
    Corrupt images are skipped and named; if all are, InputRejectedError.
    """
    key = listing.key(_FORMAT, *geometry.stored)
    shot = _Shot(
        title=title,
        listing=listing,
        geometry=geometry,
        folder=cache / key[:32],
        key=key,
    )
    shots = [replace(shot, folder=place) for place in places(shot.folder)]
    images = next((found for each in shots if (found := _kept(each))), None)
    if images is None:
        shot = shots[-1]
        if (shot.folder / SIDECAR).exists():
            console.tell(f"{title}: its pixel cache is stale or damaged; built again")
        _room(shot)
        with making(shot.folder):
            _build(shot, console)
            images = _kept(shot)
    if images is None:
        raise InputRejectedError(f"{shot.folder}: changed while it was read; run again")
    return images


def remarks(images: Images, listing: Listing, *, title: str) -> Iterator[str]:
    """What the owner of `images` should hear of them, a sentence each."""
    if images.skipped:
        pairs = zip(images.skipped[:_TOLD], images.reasons, strict=False)
        first = ", ".join(f"{name} ({reason})" for name, reason in pairs)
        more = len(images.skipped) - _TOLD
        yield (
            f"{title}: {len(images.skipped)} of {len(listing)} images cannot be used "
            f"and were skipped: {first}{f' and {more} more' if more > 0 else ''}"
        )
    if images.notes:
        yield f"{title}: {'; '.join(images.notes)}"
