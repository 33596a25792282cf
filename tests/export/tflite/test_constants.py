"""Constants that do not lie in memory as their axes are ordered, each with its own."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.int8.simulate import with_qdq
from runtime.session import open_session

if TYPE_CHECKING:
    from conftest import Workshop

    from runtime.artifact import Artifact

pytest.importorskip("litert_torch")

SIZE, LAYERS, CHANNELS = 32, 6, 8


class Alike(nn.Module):
    """Convolutions of one shape, with weights as a training leaves them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, stride=2, padding=1)
        self.body = nn.Sequential(
            *(
                layer
                for _ in range(LAYERS)
                for layer in (nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU())
            )
        )
        self.head = nn.Linear(CHANNELS, 10)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 10]."""
        logits: Tensor = self.head(self.body(self.stem(images)).mean((2, 3)))
        return logits


class Turned(Alike):
    """Matrices that are no parameters, each the transpose of what is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.turned = [torch.rand(CHANNELS, CHANNELS).t() for _ in range(LAYERS)]

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 10]."""
        features = self.stem(images).mean((2, 3))
        for each in self.turned:
            features = torch.relu(features @ each)
        logits: Tensor = self.head(features)
        return logits


def test_layers_of_one_shape_keep_their_own_integers(
    workshop: "Workshop", tmp_path: Path
) -> None:
    """Oracle: the simulation of the graph that the file is made of."""
    torch.manual_seed(0)
    images = workshop.pixels(4, SIZE)
    quantized = workshop.chosen(Alike().eval(), images)
    graph = with_qdq(quantized.graph, quantized.scheme)

    file = workshop.written(graph, tmp_path / "alike.tflite")

    _assert_alike(quantized.answers(), file, images)


@pytest.mark.parametrize("kind", [Alike, Turned])
def test_layers_of_one_shape_keep_their_own_numbers(
    workshop: "Workshop", tmp_path: Path, kind: Callable[[], nn.Module]
) -> None:
    """Oracle: the network in torch."""
    torch.manual_seed(0)
    net, images = kind().eval(), workshop.pixels(4, SIZE)

    file = workshop.written(net, tmp_path / "alike.tflite", dtype="float32")

    with torch.inference_mode():
        _assert_alike(net(images).numpy(), file, images)


def _assert_alike(want: np.ndarray, file: "Artifact", images: Tensor) -> None:
    """Hold a file to scores, but for the order of float sums."""
    last = np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1))
    have = open_session(file).run(last)
    np.testing.assert_allclose(have, want, rtol=0, atol=1e-5 * np.abs(want).max())
