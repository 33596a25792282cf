"""NNCF's accuracy control, on a network that per-tensor grids cannot hold."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from compress.quantization.nncf import Control, nncf_quantized
from export.onnx.lower import int8_macs_fraction, lowered
from export.to_onnx import to_onnx
from runtime.errors import InputRejectedError
from runtime.preprocess import Preprocess
from runtime.session import open_session
from runtime.target import TARGETS

pytest.importorskip("nncf", reason="NNCF is not installed")

SIZE, CLASSES = 8, 4
# One channel is so much louder than those that decide that their steps vanish.
LOUD = 2000.0


class Drowned(nn.Module):
    """Four channels decide; a fifth beside them is loud, until it is turned down."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        width = CLASSES + 1
        self.calm = nn.Conv2d(3, 8, 1)
        self.mix = nn.Conv2d(8, width, 1)
        self.blur = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.head = nn.Linear(width, CLASSES)
        with torch.no_grad():
            for layer in (self.mix, self.blur, self.head):
                layer.bias.zero_()
            self.mix.weight.sub_(self.mix.weight.mean(0))
            self.blur.weight.fill_(1 / 9)
            self.head.weight.copy_(4 * torch.eye(CLASSES, width) - 1)
            self.mix.weight[CLASSES] *= LOUD
            self.blur.weight[CLASSES] /= LOUD

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 4]."""
        maps = torch.relu(self.mix(torch.relu(self.calm(images))))
        return self.head(torch.relu(self.blur(maps)).mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Noise of different colors."""
    generator = torch.Generator().manual_seed(0)
    colors = torch.randn(48, 3, 1, 1, generator=generator)
    return colors + 0.3 * torch.randn(48, 3, SIZE, SIZE, generator=generator)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network's float file."""
    artifact = to_onnx(
        Drowned().eval(),
        size=SIZE,
        path=tmp_path_factory.mktemp("float") / "plain.onnx",
        classes=tuple("abcd"),
        preprocess=Preprocess(size=SIZE, resize=SIZE),
        recipe_sha256="f00",
        name="drowned",
    )
    return artifact.path


def made(
    plain: Path, images: Tensor, folder: Path, *, allowed: float | None
) -> tuple[float, float]:
    """The share of float32's answers that the lowered file keeps; INT8 MACs in it."""
    with_float = open_session(plain).run(images.numpy()).argmax(axis=1)

    def judged() -> Iterator[tuple[np.ndarray, int]]:
        for image, right in zip(images.numpy(), with_float, strict=True):
            yield image[None], int(right)

    control = None if allowed is None else Control(judged, allowed)
    raw, file = folder / f"raw{allowed}.onnx", folder / f"file{allowed}.onnx"
    nncf_quantized(plain, raw, lambda: images.split(16), control=control)
    onnx.save(lowered(onnx.load(raw), TARGETS["x86-avx2"]), file)
    answers = open_session(file).run(images.numpy()).argmax(axis=1)
    return float((answers == with_float).mean()), int8_macs_fraction(file)


def test_what_harms_most_goes_back_to_float_until_the_limit_holds(
    plain: Path, images: Tensor, tmp_path: Path
) -> None:
    """Oracle: the same network without control keeps few of its answers."""
    kept, in_int8 = made(plain, images, tmp_path, allowed=None)
    assert kept < 0.5
    assert in_int8 > 0.99

    kept, in_int8 = made(plain, images, tmp_path, allowed=0.25)
    assert kept >= 0.75
    assert 0.2 < in_int8 < 0.9


def test_where_nothing_stays_in_int8_that_is_the_answer(
    plain: Path, images: Tensor, tmp_path: Path
) -> None:
    """The judge always wants another class than float32's, so that nothing helps."""
    with_float = open_session(plain).run(images.numpy()).argmax(axis=1)
    asked = 0

    def judged() -> Iterator[tuple[np.ndarray, int]]:
        nonlocal asked
        asked += 1
        # The first two are float32's own, of one image and of all.
        wrong = 0 if asked <= 2 else 1
        for image, right in zip(images.numpy(), with_float, strict=True):
            yield image[None], (int(right) + wrong) % CLASSES

    with pytest.raises(InputRejectedError, match="nothing of plain"):
        nncf_quantized(
            plain,
            tmp_path / "raw.onnx",
            lambda: images.split(16),
            control=Control(judged, 0.0),
        )
