"""Files become pixels: any format to uint8 RGB squares, corrupt ones to a reason."""

import os
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from compress.data.listing import Listing
from runtime.errors import RecipeError
from runtime.picture import LARGEST_PIXELS, check_size, plain
from runtime.preprocess import Preprocess
from runtime.resize import middle, resized_to

# A hostile or broken file can make a decoder raise anything; whatever it is, it
# concerns one image, which is then named and skipped.
UNREADABLE: Final = (Exception,)

_CHUNK_BYTES: Final = 2 * 2**20  # decoded pixels that one task hands over
_CHUNK_IMAGES: Final = 256
# Below this many pixels Python takes longer than the decoder, and threads only wait
# for each other: CIFAR takes 5 s with one and 11 s with two on two cores.
_WORTH_THREADS: Final = 128 * 128
# Of decoded pixels for each thread: photographs do not wait for each other, a few
# huge images do.
_PIXELS_EACH: Final = 16 * 2**20
_FILTERS: Final = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """What of each image is kept: the middle `store` x `store` of the resized image.

    size: the side that an evaluation looks at, pixels; size <= store. exif: whether
    images are turned upright first.
    """

    size: int
    store: int
    interpolation: Literal["bilinear", "bicubic"]
    exif: bool = True

    @classmethod
    def of(cls, preprocess: Preprocess) -> "Geometry":
        """Take what a network's preprocessing asks for."""
        if not 0 < preprocess.size <= preprocess.resize:
            raise RecipeError(
                f"preprocess: size {preprocess.size} must lie between 1 and resize "
                f"{preprocess.resize}"
            )
        return cls(
            size=preprocess.size,
            store=preprocess.resize,
            interpolation=preprocess.interpolation,
            exif=preprocess.exif,
        )

    @property
    def stored(self) -> tuple[object, ...]:
        """What the pixels on disk depend on: one place for every key and digest."""
        return (self.store, self.interpolation, "upright" if self.exif else "as stored")

    @property
    def image_bytes(self) -> int:
        """Bytes that one image takes in the cache."""
        return self.store * self.store * 3

    def fitted(self, picture: Image.Image) -> npt.NDArray[np.uint8]:
        """Resize the shorter side to `store` and keep the middle, uint8 [s, s, 3].

        `picture` has eight bits. On a device `runtime.resize` does the same.
        """
        target = resized_to(picture.width, picture.height, short=self.store)
        if target != picture.size:
            picture = picture.resize(target, _FILTERS[self.interpolation])
        if picture.size != (self.store, self.store):
            left, top = (middle(side, self.store) for side in picture.size)
            picture = picture.crop((left, top, left + self.store, top + self.store))
        return np.asarray(picture.convert("RGB"), np.uint8)


class Decoded(NamedTuple):
    """One image: its pixels, or why there are none, and what its bytes were.

    notes: what its owner would not have expected of it.
    """

    row: int
    pixels: npt.NDArray[np.uint8] | None
    fact: str
    reason: str
    notes: tuple[str, ...] = ()


class _Room:
    """How many pixels are decoded at once: whoever would exceed that waits."""

    def __init__(self, pixels: int) -> None:
        self._free = pixels
        self._changed = threading.Condition()

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        """Hold room for so many pixels, at most all there is, while the block runs."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


def _decoded(listing: Listing, geometry: Geometry, row: int, room: _Room) -> Decoded:
    """Decode one image; a corrupt one gives a reason."""
    fact = "unreadable"
    try:
        content = listing.source.content(listing.names[row])
        fact = f"{len(content)}:{zlib.crc32(content):08x}"
        with listing.source.picture(content) as picture:
            check_size(picture)
            with room.of(picture.width * picture.height):
                flat, notes = plain(picture, exif=geometry.exif)
                return Decoded(row, geometry.fitted(flat), fact, "", notes)
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Decoded(row, None, fact, reason.partition(" <_io")[0])


def _threads(listing: Listing) -> int:
    """How many threads decode these images fastest."""
    cores = len(os.sched_getaffinity(0))
    try:
        with listing.source.picture(
            listing.source.content(listing.names[0])
        ) as picture:
            small = picture.width * picture.height < _WORTH_THREADS
    except UNREADABLE:
        return cores
    return 1 if small else cores


def decoded_images(listing: Listing, geometry: Geometry) -> Iterator[list[Decoded]]:
    """Decode in order on all cores; what is in flight does not grow with the data."""
    threads = _threads(listing)
    room = _Room(max(LARGEST_PIXELS, threads * _PIXELS_EACH))
    chunk = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // geometry.image_bytes))

    def work(start: int) -> list[Decoded]:
        rows = range(start, min(start + chunk, len(listing)))
        return [_decoded(listing, geometry, row, room) for row in rows]

    ahead: deque[Future[list[Decoded]]] = deque()
    pool = ThreadPoolExecutor(threads, "decode")
    try:
        for start in range(0, len(listing), chunk):
            ahead.append(pool.submit(work, start))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
