"""Files of every depth and orientation against the same picture saved as 8 bits."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image

from runtime.picture import FORMATS, LARGEST_PIXELS, opened, plain
from runtime.preprocess import Preprocess

GRAY = np.add.outer(np.arange(0, 160, 10), np.arange(0, 96, 8)).astype(np.uint8)
COLOR = np.stack([GRAY, 250 - GRAY, GRAY // 2], axis=2)


def stored(picture: Image.Image, form: str, **options: object) -> bytes:
    """A picture as a file's bytes."""
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def read(content: bytes, *, exif: bool = True) -> npt.NDArray[np.uint8]:
    """What training sees of a file, uint8 [h, w, 3]."""
    with opened(content) as picture:
        return np.asarray(plain(picture, exif=exif).picture.convert("RGB"))


def notes(content: bytes) -> tuple[str, ...]:
    """What is said of a file."""
    with opened(content) as picture:
        return plain(picture, exif=True).notes


def gray16(values: npt.NDArray[np.generic], form: str = "PNG") -> bytes:
    return stored(Image.fromarray(values.astype(np.uint16)), form)


def tiff(values: npt.NDArray[np.generic], **options: object) -> bytes:
    return stored(Image.fromarray(values), "TIFF", **options)


WIDE = GRAY.astype(np.int64)
# What each file stands for is GRAY; the oracle is GRAY itself, saved as 8 bits.
SAME_GRAY = {
    "8-bit png": stored(Image.fromarray(GRAY), "PNG"),
    "16-bit png": gray16(WIDE * 257),
    "16-bit png, low byte empty": gray16(WIDE * 256),
    "16-bit tiff": gray16(WIDE * 257, "TIFF"),
    "12 bits in a 16-bit png": gray16(np.rint(WIDE * 4095 / 255)),
    "12 bits, shifted": gray16(WIDE * 16),
    "8 bits in a 16-bit png": gray16(WIDE),
    "pgm of 16 bits": gray16(WIDE * 257, "PPM"),
    "pgm with 12 bits": b"P5 12 16 4095\n"
    + np.rint(WIDE * 4095 / 255).astype(">u2").tobytes(),
    "32-bit tiff of 8": tiff(WIDE.astype(np.int32)),
    "32-bit tiff of 12": tiff((WIDE * 16).astype(np.int32)),
    "32-bit tiff of 16": tiff((WIDE * 257).astype(np.int32)),
    "float tiff, 0 to 1": tiff((WIDE / 255).astype(np.float32)),
    "float tiff, 0 to 255": tiff(WIDE.astype(np.float32)),
    "float tiff, 0 to 65535": tiff((WIDE * 257).astype(np.float32)),
    "white is zero, 8 bits": tiff(GRAY, tiffinfo={262: 0}),  # Pillow writes the inverse
    "white is zero, 16 bits": tiff(
        ((255 - WIDE) * 257).astype(np.uint16), tiffinfo={262: 0}
    ),
    "gray and alpha": stored(
        Image.merge("LA", (Image.fromarray(GRAY), Image.fromarray(GRAY // 3))), "PNG"
    ),
    "palette": stored(Image.fromarray(GRAY).convert("P"), "PNG"),
    "palette and alpha": stored(
        Image.fromarray(GRAY).convert("P"), "PNG", transparency=bytes(range(200))
    ),
}


@pytest.mark.parametrize("kind", sorted(SAME_GRAY))
def test_gray_of_any_depth_is_the_same_picture_as_in_eight_bits(kind: str) -> None:
    """Exactly: 8-bit values were spread over a deeper scale, and come back."""
    np.testing.assert_array_equal(
        read(SAME_GRAY[kind]), np.repeat(GRAY[..., None], 3, axis=2), err_msg=kind
    )


@pytest.mark.parametrize(
    ("mode", "form"),
    [("RGB", "PNG"), ("RGBA", "PNG"), ("P", "GIF"), ("RGBA", "TIFF"), ("RGB", "PPM")],
)
def test_color_with_and_without_alpha_is_the_same_picture(mode: str, form: str) -> None:
    """Transparency is dropped; the color that it hides is what the file holds."""
    picture = Image.fromarray(COLOR)
    if mode == "RGBA":
        picture.putalpha(Image.fromarray(GRAY))
    if mode == "P":
        picture = picture.quantize(256)

    np.testing.assert_array_equal(
        read(stored(picture, form)), np.asarray(picture.convert("RGB"))
    )
    if mode != "P":
        np.testing.assert_array_equal(read(stored(picture, form)), COLOR)


def test_one_bit_is_black_and_white() -> None:
    bits = GRAY > 99

    np.testing.assert_array_equal(
        read(stored(Image.fromarray(bits), "PNG")),
        np.repeat(np.where(bits, 255, 0)[..., None], 3, axis=2),
    )


def test_cmyk_is_the_color_that_it_prints() -> None:
    """Without a profile, red is what neither cyan nor black ink takes away."""
    inks = Image.fromarray(COLOR).convert("CMYK")

    shown = read(stored(inks, "TIFF")).astype(int)

    ink = np.asarray(inks).astype(float) / 255
    expected = 255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])
    assert np.abs(shown - expected).max() <= 1


def color16(values: npt.NDArray[np.generic]) -> bytes:
    """A PNG of 16 bits a channel, which Pillow cannot write: by hand."""
    import struct
    import zlib

    height, width, _ = values.shape
    rows = values.astype(">u2").reshape(height, -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(name: bytes, body: bytes) -> bytes:
        check = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def test_color_of_sixteen_bits_keeps_its_upper_eight() -> None:
    np.testing.assert_array_equal(read(color16(COLOR.astype(int) * 257)), COLOR)


NO_SCALE = {
    "color of 12 bits in 16": color16(COLOR.astype(int) * 16),
    "color of 8 bits in 16": color16(COLOR),
    "a mask of few numbers": gray16(GRAY // 20),
    "floats of a very dark scene": tiff((WIDE / 255 / 100).astype(np.float32)),
    "floats a little above one": tiff((WIDE / 200).astype(np.float32)),
    "values below zero": tiff((WIDE - 100).astype(np.int32)),
    "floats below zero": tiff((WIDE / 128 - 1).astype(np.float32)),
    "values above 16 bits": tiff((WIDE * 10_000).astype(np.int32)),
    "no numbers": tiff(np.where(GRAY > 99, np.nan, 1.0).astype(np.float32)),
}


@pytest.mark.parametrize("kind", sorted(NO_SCALE))
def test_values_without_a_scale_are_refused_and_not_shown_black(kind: str) -> None:
    with pytest.raises(ValueError, match="save it with 8 bits"):
        read(NO_SCALE[kind])


def test_a_black_picture_is_black_in_every_scale() -> None:
    for content in (gray16(GRAY * 0), tiff((WIDE * 0.0).astype(np.float32))):
        assert not read(content).any()


def test_a_scale_that_was_told_is_said_and_a_known_one_is_not() -> None:
    assert notes(SAME_GRAY["12 bits in a 16-bit png"]) == ("read as 12 bits",)
    assert notes(SAME_GRAY["float tiff, 0 to 1"]) == ("read as 0 to 1",)
    for kind in ("16-bit png", "pgm with 12 bits", "8-bit png", "palette"):
        assert notes(SAME_GRAY[kind]) == ()


def turned(orientation: int) -> npt.NDArray[np.uint8]:
    """What Exif 2.32 means by each orientation: where row 0 and column 0 are seen."""
    pixels = COLOR
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG", "TIFF"])
def test_exif_orientation_is_obeyed_or_left_as_stored(
    orientation: int, form: str
) -> None:
    """A tagged picture is the one without a tag, turned; `exif=False` is the latter."""
    tag = Image.Exif()
    tag[ExifTags.Base.Orientation] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    picture = Image.fromarray(COLOR)

    content = stored(picture, form, exif=tag, **options.get(form, {}))

    loss = 4 if form == "JPEG" else 0
    shown = read(content).astype(int)
    assert shown.shape == turned(orientation).shape
    assert np.abs(shown - turned(orientation)).max() <= loss
    said = orientation > 1 and form != "TIFF"
    assert notes(content) == (("turned upright by EXIF",) if said else ())
    if form != "TIFF":  # a part of that format, which Pillow always obeys
        assert np.abs(read(content, exif=False).astype(int) - COLOR).max() <= loss


def test_a_broken_exif_block_costs_nothing() -> None:
    content = stored(Image.fromarray(COLOR), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff")

    np.testing.assert_array_equal(read(content), COLOR)


def test_a_phone_with_two_lenses_writes_a_jpeg() -> None:
    """Pillow calls it MPO; the first picture is the photograph."""
    picture = Image.fromarray(COLOR)
    content = stored(picture, "MPO", save_all=True, append_images=[picture], quality=95)

    assert read(content).shape == COLOR.shape


@pytest.mark.parametrize("form", ["EPS", "ICO", "PCX", "TGA", "SGI", "PDF", "DDS"])
def test_a_format_that_is_not_listed_is_not_opened(form: str) -> None:
    assert form not in FORMATS
    content = stored(Image.fromarray(COLOR), form)

    with pytest.raises(OSError, match="cannot identify"):
        opened(content)


def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    """88 megapixels of 16 bits are 90 kB of PNG and were 2 GB of memory."""
    import tracemalloc

    path = tmp_path / "x.png"
    Image.new("I;16", (9400, 9400)).save(path)
    content = path.read_bytes()

    tracemalloc.start()
    with opened(content) as picture, pytest.raises(ValueError, match="million pixels"):
        plain(picture, exif=True)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert LARGEST_PIXELS < 9400 * 9400


def test_a_jpeg_of_countless_scans_or_segments_is_refused_by_its_markers() -> None:
    """Ten times its last scan is an image still; a thousand times is an hour's work."""
    picture = Image.fromarray(COLOR)
    content = stored(picture, "JPEG", progressive=True, quality=95)
    last = content[content.rindex(b"\xff\xda") : -2]

    many = content[:-2] + 10 * last + b"\xff\xd9"
    assert read(many).shape == COLOR.shape
    with pytest.raises(ValueError, match="more than 64 scans"):
        opened(content[:-2] + 1000 * last + b"\xff\xd9")
    with pytest.raises(ValueError, match="more than 4096 segments"):
        opened(content[:2] + 9999 * b"\xff\xfe\0\2" + content[2:])
    # A phone appends its video to the photograph: that is not the image any more.
    video = read(content + 1000 * last)
    np.testing.assert_array_equal(video, read(content))


def test_a_record_that_says_nothing_of_exif_was_made_without() -> None:
    """Files of before keep meaning what they meant; new ones say what was done."""
    record = Preprocess(size=8, resize=9).as_record()
    assert record["exif"] is True
    assert Preprocess.from_record(record) == Preprocess(size=8, resize=9)

    del record["exif"]

    assert Preprocess.from_record(record) == Preprocess(size=8, resize=9, exif=False)
