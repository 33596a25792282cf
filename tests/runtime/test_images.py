"""Images as devices see them, in numpy, against what training sees of the same file."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from compress.data.decode import Geometry
from compress.models.model import Model
from compress.models.nets.lenet import LeNet5
from compress.models.spec import ModelSpec
from runtime.errors import Exit, InputRejectedError, MissingDependencyError
from runtime.images import fed_image
from runtime.picture import opened, plain
from runtime.preprocess import Preprocess
from runtime.resize import middle, resized

FED = (
    Preprocess(size=32, resize=32),
    Preprocess(size=45, resize=51, interpolation="bicubic"),
    Preprocess(size=224, resize=256, interpolation="bicubic", layout="NHWC"),
    Preprocess(size=40, resize=64, exif=False),
)


def photo(height: int, width: int) -> np.ndarray:
    """Smooth colors with some noise, as a camera's."""
    rng = np.random.default_rng(height * 1000 + width)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=2)
    return np.clip(waves + rng.integers(-9, 10, waves.shape), 0, 255).astype(np.uint8)


def stored(picture: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def turned(orientation: int) -> bytes:
    """A JPEG whose camera was held some other way."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return stored(Image.fromarray(photo(61, 97)), "JPEG", exif=exif)


def files() -> Iterator[tuple[str, bytes]]:
    """Every kind of real file: odd sizes, gray, CMYK, EXIF, alpha, palette, deep."""
    for height, width in ((33, 77), (300, 51), (51, 300), (1, 5), (257, 256)):
        picture = Image.fromarray(photo(height, width))
        yield f"{height}x{width}.jpg", stored(picture, "JPEG", quality=90)
    whole = Image.fromarray(photo(80, 60))
    yield "progressive.jpg", stored(whole, "JPEG", progressive=True, subsampling=2)
    yield "gray.jpg", stored(whole.convert("L"), "JPEG")
    yield "cmyk.jpg", stored(whole.convert("CMYK"), "JPEG")
    for orientation in range(1, 9):
        yield f"exif{orientation}.jpg", turned(orientation)
    alpha = whole.copy()
    alpha.putalpha(Image.fromarray(photo(80, 60)[:, :, 0]))
    yield "alpha.png", stored(alpha, "PNG")
    yield "palette.png", stored(whole.convert("P"), "PNG")
    deep = photo(80, 60)[:, :, 0].astype(np.uint16) * 257
    yield "deep.png", stored(Image.fromarray(deep), "PNG")
    yield "plain.ppm", stored(whole, "PPM")
    yield "photo.webp", stored(whole, "WEBP")


def trained_on(content: bytes, fed: Preprocess) -> np.ndarray:
    """What training feeds a network: float32 [1, 3, size, size], by its own path."""
    with opened(content) as picture:
        kept = Geometry.of(fed).fitted(plain(picture, exif=fed.exif).picture)
    begin = middle(fed.resize, fed.size)
    square = kept[begin : begin + fed.size, begin : begin + fed.size]
    model = Model(
        spec=ModelSpec(name="lenet5"), net=LeNet5(), preprocess=fed, classes=("a", "b")
    )
    pixels = torch.from_numpy(square.copy()).permute(2, 0, 1)[None]
    return model.prepare(pixels).contiguous().numpy()


@pytest.mark.parametrize("fed", FED, ids=str)
def test_a_device_sees_what_training_saw(tmp_path: Path, fed: Preprocess) -> None:
    """To the bit in pixels, and so far within 1/255 once they are normalized."""
    for name, content in files():
        path = tmp_path / name
        path.write_bytes(content)
        given = fed(fed_image(path, fed)[None])
        if fed.layout == "NHWC":
            given = given.transpose(0, 3, 1, 2)
        np.testing.assert_allclose(
            given, trained_on(content, fed), rtol=0, atol=1e-6, err_msg=name
        )


def test_a_device_sees_real_photographs_as_training_does(
    tmp_path: Path, shared_data: Path
) -> None:
    fed = Preprocess(size=224, resize=256)
    with zipfile.ZipFile(
        shared_data / "images" / "imagenet_sample_short256.zip"
    ) as images:
        names = [
            each for each in images.namelist() if each.lower().endswith(("jpg", "jpeg"))
        ]
        for name in names[:: len(names) // 8]:
            content = images.read(name)
            path = tmp_path / "photo.jpg"
            path.write_bytes(content)
            given = fed(fed_image(path, fed)[None])
            np.testing.assert_allclose(
                given, trained_on(content, fed), rtol=0, atol=1e-6, err_msg=name
            )


@pytest.mark.parametrize("form", ["bilinear", "bicubic"])
def test_resizing_is_pillows_to_the_bit(form: str) -> None:
    """Enlarged, reduced, stretched; tall images go along columns first in Pillow 13."""
    rng = np.random.default_rng(0)
    chosen = Image.Resampling[form.upper()]
    for _ in range(40):
        height, width, down, along = (int(each) for each in rng.integers(1, 160, 4))
        noise = rng.integers(0, 256, (height, width, 3), np.uint8)
        ours = resized(noise, (along, down), form)  # type: ignore[arg-type]
        theirs = Image.fromarray(noise).resize((along, down), chosen)
        np.testing.assert_array_equal(ours, np.asarray(theirs))


@pytest.fixture
def without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device that has numpy only."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)


@pytest.mark.usefixtures("without_pillow")
def test_without_pillow_there_are_files_that_numpy_reads(tmp_path: Path) -> None:
    fed, image = FED[1], photo(80, 60)
    given = {
        "a.ppm": b"P6\n# by hand\n60 80\n255\n" + image.tobytes(),
        "a.pgm": b"P5 60 80 255\n" + image[:, :, 0].tobytes(),
    }
    np.save(tmp_path / "a.npy", image)
    np.save(tmp_path / "gray.npy", image[:, :, 0])
    for name, content in given.items():
        (tmp_path / name).write_bytes(content)
    color = [fed_image(tmp_path / name, fed) for name in ("a.ppm", "a.npy")]
    gray = [fed_image(tmp_path / name, fed) for name in ("a.pgm", "gray.npy")]
    np.testing.assert_array_equal(*color)
    np.testing.assert_array_equal(*gray)
    picture = Image.fromarray(image)
    np.testing.assert_array_equal(color[0][:, :, 0], gray[0][:, :, 1])
    assert np.array_equal(color[0], _middle(picture, fed))


def _middle(picture: Image.Image, fed: Preprocess) -> np.ndarray:
    """By Pillow."""
    begin = middle(fed.resize, fed.size)
    kept = Geometry.of(fed).fitted(picture)
    return kept[begin : begin + fed.size, begin : begin + fed.size]


@pytest.mark.usefixtures("without_pillow")
def test_without_pillow_a_jpeg_is_told_how_to_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(turned(1))
    with pytest.raises(MissingDependencyError, match="pip install pillow") as caught:
        fed_image(path, FED[0])
    assert caught.value.exit_code == Exit.MISSING


def npy(shape: tuple[int, ...], kind: str, content: bytes) -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text = head.ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image at all",
        turned(1)[:300],
        b"P6 60 80 255\n" + bytes(100),
        b"P6 999999 999999 255\n" + bytes(100),
        b"P6 0 80 255\n",
        npy((100_000, 100_000, 3), "|u1", b""),
        npy((4, 4, 3), "<f4", bytes(192)),
        npy((4, 4, 7), "|u1", bytes(112)),
        npy((4,), "|O", bytes(64)),
        npy((1, 9000, 3), "|u1", bytes(27_000)),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(InputRejectedError, match="not readable as an image"):
        fed_image(path, Preprocess(size=224, resize=256))
