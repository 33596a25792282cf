import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from compress.context.vision import torchvision
from compress.data.dataset import Catalog
from runtime.errors import RecipeError
from runtime.preprocess import Preprocess

Look = Callable[..., Catalog]


def test_digits_are_scikit_learns_in_a_split_that_never_moves(look: Look) -> None:
    """1,437 and 360 of the 1,797, every class by its share, the same for any seed."""
    found, other = look("digits"), look("digits", seed=9, val_fraction=0.5)

    assert (len(found.train), len(found.val)) == (1437, 360)
    assert found.val.names == other.val.names
    assert found.classes == tuple("0123456789")
    assert found.native_size == 8
    everything = np.bincount(load_digits().target)
    share = np.bincount(found.val.labels) / everything
    assert np.abs(share - 0.2).max() < 0.01
    assert sorted(found.train.names + found.val.names) == [
        f"{row:06d}" for row in range(1797)
    ]


def test_digits_are_decoded_to_the_shades_they_have(look: Look) -> None:
    """0 to 16 become 0 to 255, in three equal channels, under the right label."""
    bundle = load_digits()
    found = look("digits")
    data = found.open(Preprocess(size=8, resize=8))

    for images, listing in ((data.train, found.train), (data.val, found.val)):
        rows = [int(name) for name in listing.names]
        np.testing.assert_array_equal(images.labels, bundle.target[rows])
        gray = images.pixels[..., 0].astype(float) * 16 / 255
        assert np.abs(gray - bundle.images[rows]).max() < 0.04
        assert (images.pixels == images.pixels[..., :1]).all()


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion-mnist", "imagenet"])
def test_a_set_that_is_not_there_says_what_to_do(
    look: Look, tmp_path: Path, name: str
) -> None:
    """No network unless it is allowed; the sentence names the flag or the files."""
    with pytest.raises(RecipeError, match="--data-root"):
        look(name)
    with pytest.raises(RecipeError, match="no folder"):
        look(name, root=str(tmp_path / "none"))
    with pytest.raises(RecipeError, match=r"--download|image-net\.org") as caught:
        look(name, root=str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_failed_download_is_one_sentence(
    look: Look,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The library's chatter does not reach stdout, its traceback nobody."""

    def fails(*_: object, **__: object) -> None:
        print("Downloading...")  # noqa: T201  # as torchvision does
        raise OSError("network is unreachable")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fails)
    with pytest.raises(RecipeError, match=r"could not be fetched .*check the network"):
        look("cifar10", root=str(tmp_path), download=True)
    assert capsys.readouterr().out == ""


def _idx(path: Path, array: np.ndarray) -> None:
    """Write a file in the format of LeCun's MNIST."""
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    path.write_bytes(gzip.compress(head + array.tobytes()))


def test_fashion_mnist_is_read_where_it_lies(look: Look, tmp_path: Path) -> None:
    """Files as the authors publish them, unpacked or not."""
    raw = tmp_path / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 28, 28), np.uint8)
    for part, count in (("train", 20), ("t10k", 10)):
        for kind, array in (
            ("images-idx3", pixels[:count]),
            ("labels-idx1", np.arange(count, dtype=np.uint8) % 10),
        ):
            content = raw / f"{part}-{kind}-ubyte"
            _idx(content.with_suffix(".gz"), array)
            content.write_bytes(
                gzip.decompress(content.with_suffix(".gz").read_bytes())
            )

    found = look("fashion-mnist", root=str(tmp_path))

    data = found.open(Preprocess(size=28, resize=28))
    assert (len(data.train), len(data.val), len(found.classes)) == (20, 10, 10)
    np.testing.assert_array_equal(data.val.pixels[..., 1], pixels[:10])
    assert data.val.labels.tolist() == list(range(10))


def test_cifar_is_read_where_it_lies(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pickles are opened only because their digest is the published one."""
    rng = np.random.default_rng(0)
    root = tmp_path / "cifar-10-batches-py"
    root.mkdir()
    pixels = rng.integers(0, 256, (20, 3072), np.uint8)
    parts = {
        "data_batch_1": {"data": pixels.tolist(), "labels": [0, 1] * 10},
        "test_batch": {"data": pixels[:4].tolist(), "labels": [1, 0, 1, 0]},
        "batches.meta": {"label_names": ["airplane", "automobile"]},
    }
    digests = {}
    for name, record in parts.items():
        content = pickle.dumps(record)
        (root / name).write_bytes(content)
        digests[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    kind = torchvision.datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [["data_batch_1", digests["data_batch_1"]]])
    monkeypatch.setattr(kind, "test_list", [["test_batch", digests["test_batch"]]])
    meta = {
        "filename": "batches.meta",
        "key": "label_names",
        "md5": digests["batches.meta"],
    }
    monkeypatch.setattr(kind, "meta", meta)

    found = look("cifar10", root=str(tmp_path))

    data = found.open(Preprocess(size=32, resize=32))
    assert found.classes == ("airplane", "automobile")
    expected = pixels[:4].reshape(4, 3, 32, 32).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(data.val.pixels, expected)
    assert data.val.labels.tolist() == [1, 0, 1, 0]


def test_imagenet_is_read_as_torchvision_unpacks_it(
    look: Look, make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class names are the first synonym; sidecars are told apart by their WordNet id."""

    class Unpacked:
        classes = (("crane",), ("tench", "Tinca tinca"), ("crane",))
        wnids = ("n01", "n02", "n03")

        def __init__(self, root: str, split: str) -> None:
            make.tree(tmp_path, {f"{split}/{wnid}": 2 for wnid in self.wnids})
            self.samples = [
                (f"{root}/{split}/{wnid}/{number}.png", label)
                for label, wnid in enumerate(self.wnids)
                for number in range(2)
            ]

    monkeypatch.setattr(torchvision.datasets, "ImageNet", Unpacked)
    found = look("imagenet", root=str(tmp_path))

    assert found.classes == ("crane (n01)", "tench", "crane (n03)")
    assert len(found.open(Preprocess(size=8, resize=8)).train) == 6
