import io
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from compress.cli.main import main
from compress.context.vision import torchvision
from compress.data.batches import evaluation_batches
from compress.data.dataset import Catalog
from compress.data.decode import Geometry
from runtime.depth import eight_bits
from runtime.errors import Exit, InputRejectedError, RecipeError
from runtime.preprocess import Preprocess

Look = Callable[..., Catalog]


SHAPE = Preprocess(size=8, resize=8)


def _cached(tmp_path: Path) -> dict[str, os.stat_result]:
    """Files below the pixel cache."""
    root = tmp_path / "cache/pixels"
    return {
        path.relative_to(root).as_posix(): path.stat()
        for path in root.rglob("*")
        if path.is_file()
    }


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    width=st.integers(1, 80),
    height=st.integers(1, 80),
    store=st.sampled_from([8, 16, 33]),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
def test_an_image_is_fitted_as_torchvision_does(
    width: int, height: int, store: int, interpolation: str
) -> None:
    """Resize of the shorter side, then CenterCrop: the evaluation everyone uses."""
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    picture = Image.fromarray(noise)
    transforms = torchvision.transforms
    mode = transforms.InterpolationMode(interpolation)

    fitted = Geometry(size=8, store=store, interpolation=interpolation).fitted(picture)

    expected = transforms.Compose(
        [transforms.Resize(store, mode), transforms.CenterCrop(store)]
    )(picture)
    np.testing.assert_array_equal(fitted, np.asarray(expected))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK", "I;16", "F"])
def test_every_mode_becomes_three_channels(mode: str) -> None:
    """A gray ramp stays a gray ramp whatever a file calls it."""
    ramp = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1))
    if mode == "I;16":
        picture = Image.fromarray(ramp.astype(np.uint16) * 257)
    elif mode == "P":
        picture = Image.fromarray(ramp).convert("P")
        picture.info["transparency"] = bytes([0] * 8)  # Pillow would warn
    elif mode == "LA":
        picture = Image.fromarray(ramp).convert("RGBA").convert("LA")
    else:
        picture = (
            Image.fromarray(ramp).convert("RGB").convert("L" if mode == "F" else mode)
        )
        picture = picture.convert("F") if mode == "F" else picture

    flat = eight_bits(picture).picture
    fitted = Geometry(size=16, store=16, interpolation="bilinear").fitted(flat)

    expected = np.repeat(ramp[..., None], 3, axis=2).astype(int)
    worst = 255 if mode == "1" else 1  # one bit is dithered
    assert fitted.shape == (16, 16, 3)
    assert np.abs(fitted - expected).max() <= worst


def test_the_cache_holds_what_pillow_decodes(
    look: Look, make: SimpleNamespace, tmp_path: Path
) -> None:
    """Every row is the image of that name; a second opening decodes nothing."""
    folder = make.tree(tmp_path / "x", {"a": 9, "b": 8})
    found = look(folder)

    data = found.open(Preprocess(size=6, resize=9))

    for images, listing in ((data.train, found.train), (data.val, found.val)):
        assert images.pixels.shape == (len(listing), 9, 9, 3)
        assert images.size == 6
        assert isinstance(images.pixels, np.memmap)
        for row, name in enumerate(listing.names):
            picture = np.asarray(Image.open(folder / name))  # 12 x 9: no resizing
            np.testing.assert_array_equal(images.pixels[row], picture[:, 2:11])
        np.testing.assert_array_equal(images.labels, listing.labels)
    before = _cached(tmp_path)
    again = look(folder).open(Preprocess(size=6, resize=9))
    assert _cached(tmp_path) == before
    assert again.train.digest == data.train.digest
    np.testing.assert_array_equal(again.train.pixels, data.train.pixels)


def test_the_digest_names_bytes_labels_and_geometry_not_places(
    look: Look, make: SimpleNamespace, tmp_path: Path
) -> None:
    """A copy elsewhere has the same; another byte, label, size, filter, way has not."""
    folder = make.tree(
        tmp_path / "x", {"train/a": 3, "train/b": 3, "val/a": 1, "val/b": 1}
    )
    copy = shutil.copytree(folder, tmp_path / "y", copy_function=shutil.copyfile)

    def digest(place: Path, **fields: int | str) -> str:
        shape = Preprocess(**{"size": 8, "resize": 8, **fields})
        return look(place).open(shape).train.digest

    first = digest(folder)
    assert digest(copy) == first
    others = {digest(folder, size=6), digest(folder, resize=9)}
    others.add(digest(folder, interpolation="bicubic"))
    others.add(digest(folder, exif=False))
    (copy / "train/a/0.png").write_bytes(make.image(77))
    others.add(digest(copy))
    (copy / "train/a/1.png").rename(copy / "train/b/9.png")
    others.add(digest(copy))
    assert len(others | {first}) == 7


def test_a_changed_image_is_decoded_again(
    look: Look, make: SimpleNamespace, tmp_path: Path
) -> None:
    """The cache of what a folder held before is not taken for what it holds now."""
    folder = make.tree(tmp_path / "x", {"a": 4, "b": 4})
    name = look(folder).train.names[0]
    before = look(folder).open(SHAPE).train.pixels[0].copy()

    (folder / name).write_bytes(make.image(4242))
    os.utime(folder / name, ns=(1, 1))

    assert not np.array_equal(look(folder).open(SHAPE).train.pixels[0], before)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("part", ["pixels.u8", "pixels.json"])
@pytest.mark.parametrize(
    "harm",
    [
        _cut,
        _flip,
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b'{"images": 7}'),
    ],
)
def test_a_damaged_cache_is_built_again(
    look: Look,
    make: SimpleNamespace,
    tmp_path: Path,
    part: str,
    harm: Callable[[Path], object],
) -> None:
    """Whatever happened to the file, the pixels are right afterwards."""
    folder = make.tree(tmp_path / "x", {"a": 5, "b": 5})
    expected = look(folder).open(SHAPE).train
    pixels, labels = np.array(expected.pixels), expected.labels
    for path in (tmp_path / "cache/pixels").glob(f"*/{part}"):
        harm(path)

    again = look(folder).open(SHAPE).train

    np.testing.assert_array_equal(again.pixels, pixels)
    np.testing.assert_array_equal(again.labels, labels)
    assert again.digest == expected.digest
    for path in (tmp_path / "cache/pixels").glob("*/pixels.json"):
        json.loads(path.read_text())


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cache counts as one that is too large to be read before it is opened."""
    monkeypatch.setattr("compress.data.pixels._CHECKED_BYTES", 0)


def _blacken(tmp_path: Path, row: int, row_bytes: int = 8 * 8 * 3) -> Path:
    """Make one image of the larger cache black; give the file."""
    caches = (tmp_path / "cache/pixels").glob("*/pixels.u8")
    path = max(caches, key=lambda each: each.stat().st_size)
    with path.open("r+b") as stream:
        stream.seek(row * row_bytes)
        stream.write(bytes(row_bytes))
    return path


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("row", [0, 7, 18])
def test_an_altered_row_of_a_large_cache_is_never_used(
    look: Look, make: SimpleNamespace, tmp_path: Path, row: int
) -> None:
    """Rows are looked at as they are used, each of them, and others are no matter."""
    folder = make.tree(tmp_path / "x", {"a": 12, "b": 12})
    whole = np.array(look(folder).open(SHAPE).train.pixels)
    assert len(whole) == 19
    _blacken(tmp_path, row)

    images = look(folder).open(SHAPE).train
    others = np.setdiff1d(np.arange(19), [row])

    np.testing.assert_array_equal(images.read(others), whole[others])
    for use in (
        lambda: images.read(np.arange(19)),
        lambda: images.only(slice(row % 3, None, 3)).read(np.array([row // 3])),
        lambda: images.taken(np.array([row])),
        lambda: list(evaluation_batches(images, 8)),
    ):
        with pytest.raises(InputRejectedError, match=r"row \d+\) were changed since"):
            use()
    np.testing.assert_array_equal(look(folder).open(SHAPE).train.pixels, whole)


@pytest.mark.usefixtures("large")
def test_a_training_does_not_look_at_what_was_altered(
    make: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Refused, and decoded anew by the same command."""
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    data = make.tree(tmp_path / "x", {"a": 12, "b": 12})
    words = ["finetune", "--model", "lenet5", "--image-size", "32", "--data", str(data)]
    words += ["--epochs", "1", "-q", "--out"]
    # Whether a fresh network learns enough in an epoch is not the point here.
    done = {Exit.FIT, Exit.BUDGET}
    assert main([*words, str(tmp_path / "first")]) in done
    _blacken(tmp_path, 11, 32 * 32 * 3)
    capsys.readouterr()

    assert main([*words, str(tmp_path / "run")]) == Exit.REJECTED
    told = capsys.readouterr().err
    assert "pixels.u8: decoded pixels (row 11) were changed since" in told
    assert main([*words, str(tmp_path / "run")]) in done
    first, second = (
        (tmp_path / name / "01-finetune/model.safetensors").read_bytes()
        for name in ("first", "run")
    )
    assert first == second


def test_images_and_their_seal_are_not_taken_apart(
    look: Look, make: SimpleNamespace, tmp_path: Path
) -> None:
    """Else a row would be held against the checksum of another."""
    images = look(make.tree(tmp_path / "x", {"a": 4, "b": 4})).open(SHAPE).train
    with pytest.raises(ValueError, match="3 images, a seal of 6"):
        replace(images, pixels=images.pixels[::2], labels=images.labels[::2])


def test_corrupt_images_are_skipped_counted_and_named(
    look: Look,
    make: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The others keep their labels; it is said now and whenever the cache is used."""
    folder = make.tree(
        tmp_path / "x", {"train/a": 4, "train/b": 4, "val/a": 1, "val/b": 1}
    )
    whole = make.image(5, (40, 40), "JPEG")
    (folder / "train/a/1.png").write_bytes(b"no image")
    (folder / "train/a/2.png").write_bytes(whole[: len(whole) // 2])
    (folder / "train/b/0.png").write_bytes(b"")

    for _ in range(2):
        data = look(folder).open(SHAPE)

        assert data.train.skipped == (
            "train/a/1.png",
            "train/a/2.png",
            "train/b/0.png",
        )
        assert data.train.labels.tolist() == [0, 0, 1, 1, 1]
        said = capsys.readouterr().err
        assert "3 of 8 images cannot be used" in said
        assert "train/a/2.png (image file is truncated" in said
        assert "train/a/1.png" in said
    expected = np.asarray(Image.open(folder / "train/b/1.png").resize((10, 8), 2))
    np.testing.assert_array_equal(data.train.pixels[2], expected[:, 1:9])


def test_a_corrupt_member_of_a_zip_is_skipped(
    look: Look, make: SimpleNamespace, tmp_path: Path
) -> None:
    """The zip's own checksum finds a flipped bit."""
    folder = make.tree(
        tmp_path / "x", {"train/a": 3, "train/b": 3, "val/a": 1, "val/b": 1}
    )
    place = make.zip(folder, tmp_path / "x.zip")
    content = place.read_bytes()
    victim = (folder / "train/b/1.png").read_bytes()
    at = content.index(victim) + len(victim) // 2
    place.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])

    assert look(place).open(SHAPE).train.skipped == ("train/b/1.png",)


def test_nothing_but_corrupt_images_is_rejected(
    look: Look, make: SimpleNamespace, tmp_path: Path
) -> None:
    """All of them, or all of one class: an error, and no half-written cache."""
    folder = make.tree(tmp_path / "x", {"a": 4, "b": 4})
    for path in folder.glob("b/*.png"):
        path.write_bytes(path.read_bytes()[:60])  # the header is whole, the rest gone
    with pytest.raises(InputRejectedError, match="no training image of class 'b'"):
        look(folder).open(SHAPE)
    for path in folder.glob("a/*.png"):
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputRejectedError, match="none of its 6 images can be decoded"):
        look(folder).open(SHAPE)
    for path in folder.glob("*/*.png"):
        path.write_bytes(b"?")
    with pytest.raises(InputRejectedError, match="none of its 2 images can be read"):
        look(folder).open(SHAPE)
    assert not [name for name in _cached(tmp_path) if name.endswith(".part")]


def test_a_decompression_bomb_is_skipped(
    look: Look, make: SimpleNamespace, tmp_path: Path
) -> None:
    """A few kilobytes that would become 300 MB of pixels are not decoded."""
    folder = make.tree(
        tmp_path / "x", {"train/a": 3, "train/b": 3, "val/a": 1, "val/b": 1}
    )
    stream = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(stream, "PNG")
    (folder / "train/a/0.png").write_bytes(stream.getvalue())
    stream = io.BytesIO()
    Image.new("1", (1, 60_000)).save(stream, "PNG")
    (folder / "train/a/1.png").write_bytes(stream.getvalue())

    data = look(folder).open(Preprocess(size=200, resize=200))

    assert data.train.skipped == ("train/a/0.png", "train/a/1.png")


def test_what_does_not_fit_on_the_disk_is_not_begun(
    look: Look, make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence has both numbers."""
    folder = make.tree(tmp_path / "x", {"a": 4, "b": 4})
    usage = SimpleNamespace(total=10**9, used=10**9, free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    with pytest.raises(RecipeError, match=r"take 0\.07 GB and .* has 0\.00 GB free"):
        look(folder).open(SHAPE)

    assert not (tmp_path / "cache").exists()


def test_a_disk_that_fills_up_leaves_nothing(
    look: Look, make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write fails midway: one sentence, no file."""
    from compress.data import pixels

    folder = make.tree(tmp_path / "x", {"a": 4, "b": 4})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pixels._Tally, "take", full)
    with pytest.raises(RecipeError, match="No space left on device"):
        look(folder).open(SHAPE)

    assert not _cached(tmp_path)


def test_a_draft_of_a_killed_process_is_swept_away(
    look: Look, make: SimpleNamespace, tmp_path: Path
) -> None:
    """Nobody else would ever delete it."""
    folder = make.tree(tmp_path / "x", {"a": 4, "b": 4})
    look(folder).open(SHAPE)
    for path in list((tmp_path / "cache/pixels").glob("*/pixels.json")):
        path.write_text("{}")
        (path.parent / ".pixels.u8.99999999.part").write_bytes(b"x" * 100)

    look(folder).open(SHAPE)

    assert not [name for name in _cached(tmp_path) if name.endswith(".part")]


def test_an_evaluation_decodes_no_training_image(
    look: Look, make: SimpleNamespace, tmp_path: Path
) -> None:
    """Only the split that is looked at is cached."""
    data = look(make.tree(tmp_path / "x", {"a": 4, "b": 4})).open(SHAPE, train=False)

    assert data.train is None
    assert len(data.val) == 2
    assert len(_cached(tmp_path)) == 2


def test_memory_does_not_grow_with_the_data(look: Look, tmp_path: Path) -> None:
    """88 MB of pixels are written and mapped while 30 MB are never exceeded."""
    found = look("digits")
    found.val.source.content(found.val.names[0])
    tracemalloc.start()
    try:
        data = found.open(Preprocess(size=128, resize=128))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert data.train.pixels.nbytes + data.val.pixels.nbytes > 85e6
    assert peak_bytes < 30e6
    assert sum(facts.st_size for facts in _cached(tmp_path).values()) > 85e6
