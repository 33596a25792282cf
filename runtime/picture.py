"""One image file as a picture: formats that are opened, size, orientation, depth.

Training and devices read images by this file. It needs Pillow, which a device may lack.
"""

import io
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from runtime.depth import eight_bits

if TYPE_CHECKING:
    from PIL import Image

# What cameras, scanners and the web write. Pillow knows forty more; some start a
# program (EPS starts Ghostscript), and most are read by code that nobody looks at.
# A suffix is not believed: ImageNet has a PNG and some CMYK among its .JPEG files.
FORMATS: Final = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
# 60 megapixels are the largest sensor that people carry; a decoded pixel takes four
# bytes, up to three times over while it is converted and turned: 0.7 GB.
LARGEST_PIXELS: Final = 61_000_000
# Each scan of a JPEG looks at the whole image again, and an empty one takes a dozen
# bytes: a megabyte of them would decode for a quarter of an hour. libjpeg writes ten.
_MOST_SCANS: Final = 64
_MOST_SEGMENTS: Final = 4096  # of a JPEG; an ICC profile or XMP may take 255 of them
# ISO 10918-1, B.1.1.3: what may follow 0xff within a scan is no such marker.
_MARKER: Final = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_START_OF_IMAGE: Final = 0xD8
_END_OF_IMAGE: Final = 0xD9
_START_OF_SCAN: Final = 0xDA
# Exif 2.32, tag Orientation: how stored pixels have to be turned, in Pillow's words.
_ORIENTATION: Final = 0x0112
_TURNS: Final = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


class Plain(NamedTuple):
    """A picture of mode L or RGB, and what a user would not have expected of it."""

    picture: "Image.Image"
    notes: tuple[str, ...]


def opened(content: bytes) -> "Image.Image":
    """Open an image file of a format that is allowed; it is decoded later."""
    from PIL import Image

    if content.startswith(bytes((0xFF, _START_OF_IMAGE))):
        _check_scans(content)
    return Image.open(io.BytesIO(content), formats=FORMATS)


def check_size(picture: "Image.Image") -> None:
    """Refuse what would take too much memory, before it is decoded."""
    width, height = picture.size
    if width * height > LARGEST_PIXELS:
        raise ValueError(
            f"{width}x{height} is more than the {LARGEST_PIXELS / 1e6:.0f} million "
            "pixels that one image may have"
        )


def _check_scans(content: bytes) -> None:
    """Refuse a JPEG that would be decoded again and again."""
    scans, at = 0, 2
    for _ in range(_MOST_SEGMENTS):
        marker = _MARKER.search(content, at)
        if marker is None or content[marker.start() + 1] == _END_OF_IMAGE:
            return
        scans += content[marker.start() + 1] == _START_OF_SCAN
        if scans > _MOST_SCANS:
            raise ValueError(f"a JPEG of more than {_MOST_SCANS} scans")
        length = content[marker.end() : marker.end() + 2]
        at = marker.end() + int.from_bytes(length, "big")
    raise ValueError(f"a JPEG of more than {_MOST_SEGMENTS} segments")


def plain(picture: "Image.Image", *, exif: bool) -> Plain:
    """Decode a picture to eight bits; with `exif` turned as the camera was held.

    A TIFF is always upright: orientation is a part of that format, and Pillow obeys it.
    """
    check_size(picture)
    flat, note = eight_bits(picture)
    notes = [note] if note else []
    turn = _turn(picture) if exif else None
    if turn is not None:
        flat = flat.transpose(turn)
        notes.append("turned upright by EXIF")
    return Plain(flat, tuple(notes))


def _turn(picture: "Image.Image") -> "Image.Transpose | None":
    """How the pixels have to be turned; a broken EXIF block says nothing of them."""
    from PIL import Image

    picture.load()  # a TIFF is turned here
    try:
        name = _TURNS.get(picture.getexif().get(_ORIENTATION, 1))
        return None if name is None else Image.Transpose[name]
    except Exception:  # noqa: BLE001  # as hostile as the file; its pixels may be fine
        return None
