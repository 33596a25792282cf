"""Calibration images: spread over the classes, and never those that judge."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch

from compress.context.context import RunContext
from compress.data.calibration import _warn_of_overlap, chosen_images
from compress.data.data import Data, Images
from compress.quantization.ptq import quantized as quantized_by
from runtime.errors import InputRejectedError
from runtime.preprocess import Preprocess

if TYPE_CHECKING:
    from compress.data.dataset import Catalog


def drawn(labels: list[int], *, seed: int = 0) -> Images:
    """Noise with these labels."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (len(labels), 8, 8, 3), dtype=np.uint8)
    return Images(pixels=pixels, labels=np.array(labels), size=8, digest=str(seed))


@dataclass(frozen=True)
class Shelved:
    """A catalog whose images are in memory already."""

    train: Images | None
    classes: tuple[str, ...] = ("a", "b", "c")
    name: str = "shelved"

    def open(self, preprocess: Preprocess) -> Data:
        del preprocess
        return Data(name=self.name, classes=self.classes, train=self.train, val=None)


def chosen(images: Images | None, count: int, *, seed: int = 0) -> Images:
    """What a calibration on `images` looks at."""
    return chosen_images(
        cast("Catalog", Shelved(images)),
        Preprocess(size=8, resize=8),
        RunContext(folder=Path(), seed=seed),
        source=None,
        count=count,
    )


def test_every_class_comes_by_its_share() -> None:
    found = chosen(drawn([0] * 60 + [1] * 30 + [2] * 10), 20)
    assert np.bincount(found.labels).tolist() == [12, 6, 2]


def test_the_same_seed_chooses_the_same_images() -> None:
    images = drawn([0, 1, 2] * 20)
    first, again = (chosen(images, 12, seed=3).pixels for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, chosen(images, 12, seed=4).pixels)


def test_more_classes_than_images_are_drawn_over_all() -> None:
    assert len(chosen(drawn(list(range(50))), 10)) == 10


def test_fewer_images_than_asked_for_are_all_taken() -> None:
    assert len(chosen(drawn([0, 1, 2]), 256)) == 3


def test_without_training_images_others_have_to_be_named() -> None:
    with pytest.raises(InputRejectedError, match="name others with --calib"):
        chosen(None, 10)


def test_images_of_one_class_are_refused() -> None:
    with pytest.raises(InputRejectedError, match="of one class"):
        chosen(drawn([1] * 10), 5)


def test_images_that_also_judge_are_warned_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    judging = drawn([0, 1, 2] * 4)
    _warn_of_overlap(judging, judging, RunContext(folder=Path()))
    assert "12 of 12 images are also among those that judge" in capsys.readouterr().err
    _warn_of_overlap(drawn([0, 1, 2], seed=1), judging, RunContext(folder=Path()))
    assert capsys.readouterr().err == ""


def test_images_that_are_no_numbers_are_told_with_the_tensor(
    quantized: Callable[[str], object],
) -> None:
    graph = quantized("resnet18").graph  # type: ignore[attr-defined]
    images = torch.zeros(2, 3, 64, 64)
    images[1, 0, 0, 0] = float("nan")
    with pytest.raises(InputRejectedError, match="image gives numbers that are not"):
        quantized_by(graph, lambda: [images])


def test_no_images_at_all_are_refused(quantized: Callable[[str], object]) -> None:
    graph = quantized("resnet18").graph  # type: ignore[attr-defined]
    with pytest.raises(InputRejectedError, match="no images were given"):
        quantized_by(graph, list)
