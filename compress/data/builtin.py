"""Data sets that a library brings or knows: digits, and four of torchvision's."""

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from compress.data.image_source import ArraySource, FolderSource
from compress.data.listing import Found, Listing
from compress.data.spec import DataSpec
from compress.data.split import held_out
from runtime.errors import RecipeError

Name = Literal["digits", "cifar10", "cifar100", "fashion-mnist", "imagenet"]

_TORCHVISION: Final = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "fashion-mnist": "FashionMNIST",
}
# scikit-learn's digits hold 17 shades of gray, 0 to 16.
_DIGITS_WHITE: Final = 16
# The split of the digits is part of what the data set means here; it never moves.
_DIGITS_HELD_OUT: Final = 0.2


def _rows(pixels: npt.NDArray[np.uint8], labels: Sequence[int]) -> Listing:
    """List the rows of an array. pixels: uint8 [n, h, w] or [n, h, w, 3]."""
    names = tuple(f"{row:06d}" for row in range(len(pixels)))
    return Listing(ArraySource(pixels), names, np.asarray(labels, np.int64))


def digits(spec: DataSpec) -> Found:
    """scikit-learn's 1,797 handwritten digits, 8x8; 1,437 to train, 360 to validate."""
    del spec
    from sklearn.datasets import load_digits

    bundle = load_digits()
    pixels = np.rint(bundle.images * (255 / _DIGITS_WHITE)).astype(np.uint8)
    whole = _rows(pixels, bundle.target)
    train, val = held_out(whole.labels, _DIGITS_HELD_OUT)
    return Found(
        name="digits",
        classes=tuple("0123456789"),
        train=whole.only(train),
        val=whole.only(val),
    )


def _root(spec: DataSpec) -> Path:
    """Find the folder in which torchvision keeps its data sets."""
    if spec.root is None:
        raise RecipeError(
            f"data {spec.source}: needs a folder to look in; give --data-root DIR, and "
            "--download to fetch what is not there"
        )
    root = Path(spec.root).expanduser()
    if not spec.download and not root.is_dir():
        raise RecipeError(
            f"data {spec.source}: {root} is no folder; create it, or give --download "
            "to fetch the data into it"
        )
    return root


def _first_sentence(text: str) -> str:
    """Cut a library's message short."""
    return " ".join(text.split()).partition(". ")[0].rstrip(".")


def _absent(spec: DataSpec, root: Path, reason: str) -> RecipeError:
    """Say what to do about a data set that is not (wholly) there."""
    first = _first_sentence(reason)
    if spec.download:
        return RecipeError(
            f"data {spec.source}: could not be fetched into {root} ({first}); check "
            "the network, or put the files there by hand"
        )
    return RecipeError(
        f"data {spec.source}: not found or not whole in {root} ({first}); put it "
        "there, or allow the network with --download"
    )


def _of_torchvision(spec: DataSpec) -> Found:
    """One of torchvision's small sets, which it hands out as arrays."""
    from compress.context.vision import torchvision

    root = _root(spec)
    make = getattr(torchvision.datasets, _TORCHVISION[spec.source])
    try:
        # torchvision prints while it downloads, and stdout belongs to the answer.
        with contextlib.redirect_stdout(sys.stderr):
            parts = [
                make(str(root), train=train, download=spec.download)
                for train in (True, False)
            ]
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise _absent(spec, root, str(error)) from error
    lists = [_rows(np.asarray(part.data, np.uint8), part.targets) for part in parts]
    return Found(
        name=spec.source,
        classes=tuple(str(kind) for kind in parts[0].classes),
        train=lists[0],
        val=lists[1],
    )


def _imagenet(spec: DataSpec) -> Found:
    """ILSVRC 2012 as torchvision unpacks it; its archives are never downloaded."""
    from compress.context.vision import torchvision

    root = _root(spec)
    lists: list[Listing] = []
    kinds: list[str] = []
    for split in ("train", "val"):
        try:
            with contextlib.redirect_stdout(sys.stderr):
                part = torchvision.datasets.ImageNet(str(root), split=split)
        except (RuntimeError, OSError, EOFError, ValueError, ImportError) as error:
            raise RecipeError(
                f"data imagenet: {root} lacks its {split} split "
                f"({_first_sentence(str(error))}); get "
                "ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and "
                "ILSVRC2012_img_val.tar from image-net.org and put them there"
            ) from error
        names = tuple(Path(at).relative_to(root).as_posix() for at, _ in part.samples)
        labels = np.array([label for _, label in part.samples], np.int64)
        lists.append(Listing(FolderSource(root), names, labels))
        first_names = [names[0] for names in part.classes]
        twice = {name for name, count in Counter(first_names).items() if count > 1}
        kinds = [  # "crane" is a bird and a machine: the WordNet id tells them apart
            f"{name} ({wnid})" if name in twice else name
            for name, wnid in zip(first_names, part.wnids, strict=True)
        ]
    return Found(name="imagenet", classes=tuple(kinds), train=lists[0], val=lists[1])


BUILTIN: Final[dict[str, Callable[[DataSpec], Found]]] = {
    "digits": digits,
    "cifar10": _of_torchvision,
    "cifar100": _of_torchvision,
    "fashion-mnist": _of_torchvision,
    "imagenet": _imagenet,
}
