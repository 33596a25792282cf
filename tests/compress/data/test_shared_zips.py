"""The real images beside the checkout, as they are given."""

import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compress.data.dataset import Catalog
from runtime.preprocess import Preprocess

Look = Callable[..., Catalog]


# name: classes, native size, images to train on, images to validate on
GIVEN = {
    "cifar10_jpeg_train50k_test5k.zip": (10, 32, 50_000, 5_000),
    "imagenet_val_a.zip": (999, 227, None, 650),
    "imagenet_sample_short256.zip": (1000, 256, None, 1000),
    "tinyimagenet_train50perclass.zip": (200, 64, 8_000, 2_000),
    "tinyimagenet_val_a5000.zip": (989, 64, None, 5_000),
}


@pytest.mark.parametrize("name", GIVEN)
def test_every_zip_is_understood_as_given(
    look: Look, shared_data: Path, name: str
) -> None:
    """Folders win over labels.csv; a flat list of indices is evaluation only."""
    found = look(shared_data / "images" / name)

    classes, side, train, val = GIVEN[name]
    assert len(found.classes) == classes
    assert found.native_size == side
    assert (None if found.train is None else len(found.train)) == train
    assert len(found.val) == val
    assert found.indexed == (train is None)


def test_listed_images_are_cached_under_their_labels(
    look: Look, shared_data: Path
) -> None:
    """650 images: each row against Pillow on the member that the list names."""
    place = shared_data / "images/imagenet_val_a.zip"
    images = look(f"csv:{place}").open(Preprocess(size=56, resize=64)).val
    with zipfile.ZipFile(place) as archive:
        text = archive.read("labels.csv").decode()
        rows = sorted(
            (name, int(label)) for name, label in csv.reader(io.StringIO(text))
        )
        for row in range(0, 650, 50):
            picture = Image.open(io.BytesIO(archive.read(rows[row][0])))
            expected = picture.convert("RGB").resize(
                (64, 64), Image.Resampling.BILINEAR
            )
            np.testing.assert_array_equal(images.pixels[row], np.asarray(expected))
    assert images.labels.tolist() == [label for _, label in rows]
    assert not images.skipped


def test_a_subset_of_cifar_is_what_its_folders_hold(
    look: Look, shared_data: Path
) -> None:
    """200 training images, 20 of each class, byte for byte as Pillow decodes them."""
    place = shared_data / "images/cifar10_jpeg_train50k_test5k.zip"
    found = look(place, train_images=200)
    assert found.train is not None
    assert np.bincount(found.train.labels).tolist() == [20] * 10

    images = found.open(Preprocess(size=32, resize=32)).train

    with zipfile.ZipFile(place) as archive:
        for row in range(0, 200, 20):
            name = found.train.names[row]
            assert name.split("/")[1] == found.classes[images.labels[row]]
            expected = np.asarray(Image.open(io.BytesIO(archive.read(name))))
            np.testing.assert_array_equal(images.pixels[row], expected)
