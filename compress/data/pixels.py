"""The pixel cache: every image decoded once into one memory-mapped file."""

import hashlib
import shutil
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from compress.data.data import Images
from compress.data.decode import Decoded, Geometry, decoded_images
from compress.data.listing import Listing
from compress.screen import Screen, counted
from runtime.errors import InputRejectedError, RecipeError
from runtime.files import digest_of, read_json, write_json, written_whole

_FORMAT: Final = 2  # of the cache; counts up when pixels or twin change their meaning
_PIXELS, _TWIN = "pixels.u8", "pixels.json"
_CHECKED_BYTES: Final = 64 * 2**20  # decoded pixels whose checksum is verified
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


def _checksum(file: Path, row_bytes: int) -> int:
    """CRC of rows spread over the file: all of a small one, a sample of a large one.

    Read, not mapped: pages that are looked at once would count as memory for ever.
    """
    count = file.stat().st_size // row_bytes
    rows = max(1, min(count, _CHECKED_BYTES // row_bytes))
    total = 0
    with file.open("rb") as stream:
        for turn in range(rows):
            stream.seek(turn * count // rows * row_bytes)
            total = zlib.crc32(stream.read(row_bytes), total)
    return total


def _kept(shot: _Shot) -> Images | None:
    """Open a cache, or None if it is not there, not whole or of other images."""
    try:
        twin = read_json(shot.folder / _TWIN)
        count, skipped, notes = twin["images"], twin["skipped"], twin["notes"]
        if not isinstance(count, int) or not isinstance(skipped, dict):
            return None
        if not isinstance(notes, dict):
            return None
        gone = {int(row) for row in skipped}
        keep = [row for row in range(len(shot.listing)) if row not in gone]
        file = shot.folder / _PIXELS
        whole = (
            (twin["format"], twin["key"]) == (_FORMAT, shot.key)
            and len(keep) == count > 0
            and file.stat().st_size == count * shot.geometry.image_bytes
        )
        if not whole or _checksum(file, shot.geometry.image_bytes) != twin["checksum"]:
            return None
        return Images(
            pixels=_mapped(file, count, shot.geometry),
            labels=shot.listing.labels[keep],
            size=shot.geometry.size,
            digest=digest_of(twin["digest"], shot.geometry.size),
            skipped=tuple(shot.listing.names[row] for row in sorted(gone)),
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
    need = count * shot.geometry.image_bytes + _MARGIN_BYTES
    free = shutil.disk_usage(there).free
    if need > free:
        raise RecipeError(
            f"{shot.title}: {count} images of {side}x{side} take {need / 1e9:.2f} GB "
            f"and {there} has {free / 1e9:.2f} GB free; make room, set EDGEPRESS_CACHE "
            "to a folder on a larger disk, or use fewer or smaller images"
        )


def _abandoned(folder: Path) -> Iterator[Path]:
    """Find drafts whose process was killed."""
    for draft in folder.glob(f".{_PIXELS}.*.part"):
        owner = draft.name.split(".")[-2]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            yield draft


@dataclass(eq=False)
class _Tally:
    """What decoding has seen so far."""

    content: "hashlib._Hash"
    images: int = 0
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
            stream.write(image.pixels.tobytes())
            self.images += 1


def _build(shot: _Shot, screen: Screen) -> None:
    """Decode all images; the twin is written last and vouches for the pixels."""
    for draft in _abandoned(shot.folder):
        draft.unlink(missing_ok=True)
    _room(shot)
    listing, geometry = shot.listing, shot.geometry
    looks = (_FORMAT, *geometry.stored)
    tally = _Tally(hashlib.sha256(repr(looks).encode()))
    with written_whole(shot.folder / _PIXELS) as draft:
        # Appending, not mapping: on a full disk a write fails, a mapping kills.
        with (
            draft.open("wb") as stream,
            screen.progress(f"decoding {shot.title}", len(listing)) as advance,
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # what Pillow thinks of odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            for chunk in decoded_images(listing, geometry):
                for image in chunk:
                    tally.take(image, listing, stream)
                advance(len(chunk), "decoded once, then kept")
        if not tally.images:
            raise InputRejectedError(
                f"{shot.title}: none of its {len(listing)} images can be decoded; the "
                f"first one, {listing.names[0]}: {tally.skipped['0']}"
            )
        checksum = _checksum(draft, geometry.image_bytes)
    write_json(
        shot.folder / _TWIN,
        {
            "format": _FORMAT,
            "key": shot.key,
            "digest": tally.content.hexdigest(),
            "images": tally.images,
            "store": geometry.store,
            "checksum": checksum,
            "skipped": tally.skipped,
            "notes": dict(sorted(tally.notes.items())),
        },
    )


def open_images(
    listing: Listing, geometry: Geometry, *, cache: Path, screen: Screen, title: str
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
    images = _kept(shot)
    if images is None:
        if (shot.folder / _TWIN).exists():
            screen.tell(f"{title}: its pixel cache is stale or damaged; built again")
        _build(shot, screen)
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
