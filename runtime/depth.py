"""Bit depth: pixels of any depth become eight bits, by a scale that is known or told.

Formats of eight bits, PNM (which carries its largest value) and TIFF of 12 bits say
what white is. Gray pixels of 16 and 32 bits and of floats often do not mean the whole
range of their container: 12 bits of a camera in 16, [0, 1] or [0, 255] in floats. Then
white is the least of 1 (floats only), 255, 4095 and 65535 that no value exceeds, and
the brightest value must reach a sixteenth of it. An image that does not, or that has
values below zero or above 65535, could mean anything, and is skipped with a reason
rather than shown black. Color of 16 bits means its whole range, by the same sixteenth.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

# Below a sixteenth of full white, eight bits keep four: the scale is another one.
_LEAST_SHARE: Final = 1 / 16
_STRIP_PIXELS: Final = 2**20  # that are looked at as numbers at a time
_COLOR: Final = ("RGB", "RGBA", "RGBX", "LA")
_GRAY: Final = ("L", "1", "LA")
# TIFF 6.0
_BITS: Final = 258  # tag BitsPerSample
_PHOTOMETRIC: Final = 262  # tag PhotometricInterpretation
_WHITE_IS_ZERO: Final = 0


class _Scale(NamedTuple):
    """What white is; `shift` takes integers of that many bits to eight."""

    white: int
    shift: int
    name: str


_UNIT: Final = _Scale(1, 0, "0 to 1")
_EIGHT: Final = _Scale(255, 0, "0 to 255")
_TWELVE: Final = _Scale(4095, 4, "12 bits")
_SIXTEEN: Final = _Scale(65535, 8, "16 bits")


class EightBits(NamedTuple):
    """A picture of mode L or RGB, and what had to be told from its values."""

    picture: "Image.Image"
    note: str


def eight_bits(picture: "Image.Image") -> EightBits:
    """Convert to gray or three channels of eight bits; transparency is dropped.

    Raises ValueError, with the reason, for values that have no scale.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        return _of_wide_gray(picture)
    deep = _is_deep_color(picture)
    if picture.mode in _GRAY:
        flat = picture if picture.mode == "L" else picture.convert("L")
    elif picture.mode == "P" and "transparency" in picture.info:
        flat = picture.convert("RGBA").convert("RGB")
    else:
        flat = picture if picture.mode == "RGB" else picture.convert("RGB")
    if deep:
        _check_uses_its_range(flat)
    return EightBits(flat, "")


def _is_deep_color(picture: "Image.Image") -> bool:
    """Whether Pillow is about to keep the upper eight of sixteen bits a channel."""
    arguments = [tile[3] for tile in getattr(picture, "tile", ())]
    layouts = [each[0] if isinstance(each, tuple) else each for each in arguments]
    return (
        getattr(picture, "format", None) in ("PNG", "TIFF")
        and picture.mode in _COLOR
        and any(";16" in str(layout) for layout in layouts)
    )


def _check_uses_its_range(picture: "Image.Image") -> None:
    """Refuse color whose upper bits are empty: the lower ones are gone."""
    bands = picture.getextrema()
    pairs = bands if isinstance(bands[0], tuple) else (bands,)
    brightest = max(high for _, high in pairs)
    if brightest < _EIGHT.white * _LEAST_SHARE:
        raise ValueError(
            "16-bit color whose brightest value is below a sixteenth of white: it may "
            "hold fewer bits; save it with 8 bits a channel"
        )


def _of_wide_gray(picture: "Image.Image") -> EightBits:
    """Gray of more than eight bits, by the scale that its format or its values tell."""
    from PIL import Image

    picture.load()
    lows, highs = zip(*(_ends(strip) for strip in _strips(picture)), strict=True)
    low, high = min(lows), max(highs)
    if not np.isfinite([low, high]).all():
        raise ValueError("has values that are no numbers; save it with 8 bits")
    scale = _known(picture)
    note = ""
    if scale is None:
        scale = _told(low, high, floats=picture.mode == "F")
        nominal = scale is _SIXTEEN and picture.mode.startswith("I;16")
        note = "" if nominal or high == 0 else f"read as {scale.name}"
    out = np.empty((picture.height, picture.width), np.uint8)
    row = 0
    for strip in _strips(picture):
        out[row : row + len(strip)] = _scaled(strip, scale)
        row += len(strip)
    if _tags(picture).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow leaves it so
        np.subtract(255, out, out=out)
    return EightBits(Image.fromarray(out), note)


def _strips(picture: "Image.Image") -> Iterator[npt.NDArray[np.generic]]:
    """Give the values [rows, width], some rows at a time, so that few are copied."""
    step = max(1, _STRIP_PIXELS // picture.width)
    for top in range(0, picture.height, step):
        bottom = min(top + step, picture.height)
        yield np.asarray(picture.crop((0, top, picture.width, bottom)))


def _ends(strip: npt.NDArray[np.generic]) -> tuple[float, float]:
    """The least and the largest value; NaN if there is one."""
    return float(strip.min()), float(strip.max())


def _scaled(strip: npt.NDArray[np.generic], scale: _Scale) -> npt.NDArray[np.uint8]:
    """Values in [0, white] as eight bits: integers lose bits, fractions are rounded."""
    if scale is _UNIT:
        return np.rint(strip.astype(np.float32) * 255).astype(np.uint8)
    whole = np.rint(strip).astype(np.int32) if strip.dtype.kind == "f" else strip
    return (whole.astype(np.int32) >> scale.shift).astype(np.uint8)


def _known(picture: "Image.Image") -> _Scale | None:
    """The scale that a format's definition gives; None where values must tell."""
    if picture.format == "PPM" and picture.mode == "I":
        return _SIXTEEN  # Pillow spreads [0, maxval] over 16 bits
    return _TWELVE if _tags(picture).get(_BITS) == (12,) else None


def _told(low: float, high: float, *, floats: bool) -> _Scale:
    """The least usual scale that holds the values, if they fill a sixteenth of it."""
    if low < 0 or high > _SIXTEEN.white:
        raise ValueError(
            f"has values from {low:.6g} to {high:.6g}, which is no usual scale; save "
            "it with 8 bits"
        )
    scales = (
        (_UNIT, _EIGHT, _TWELVE, _SIXTEEN) if floats else (_EIGHT, _TWELVE, _SIXTEEN)
    )
    scale = next(each for each in scales if high <= each.white)
    if 0 < high < scale.white * _LEAST_SHARE:
        raise ValueError(
            f"has no value above {high:.6g}, so its scale cannot be told (white may be "
            "1, 255, 4095 or 65535); save it with 8 bits"
        )
    return scale


def _tags(picture: "Image.Image") -> dict[int, object]:
    """What a TIFF says of itself; empty for other formats."""
    from PIL.TiffImagePlugin import TiffImageFile

    return dict(picture.tag_v2) if isinstance(picture, TiffImageFile) else {}
