"""Averages that no runtime rounds as another does, in files of both formats."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

from compress.int8.simulate import with_qdq
from export.onnx.lower import lowered
from export.to_onnx import qdq_model
from runtime.machine import this_machine
from runtime.session import open_session
from runtime.target import int8_target

if TYPE_CHECKING:
    from conftest import Workshop

pytest.importorskip("litert_torch")


class Averaging(nn.Module):
    """Averages that do not count their padding, are cut short, and are uneven."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 10]."""
        x = F.relu(self.stem(images))
        x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        x = F.relu(self.middle(F.max_pool2d(x, 2, 1)))
        x = F.avg_pool2d(x, 2, 2, ceil_mode=True)
        x = F.relu(self.last(F.adaptive_avg_pool2d(x, 5)))
        return self.head(x.mean((2, 3)))


class Pooling(nn.Module):
    """Means that are added, concatenated, gated and of a large map; uneven windows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.gate = nn.Conv2d(8, 8, 1)
        self.middle = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.right = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(24, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 10]."""
        x = F.relu(self.stem(images))
        x = x * F.hardsigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        x = F.relu(self.middle(x))
        x = F.relu(self.right(x + F.adaptive_avg_pool2d(x, 1)))
        x = F.relu(self.last(F.adaptive_avg_pool2d(x, 5)))
        pooled = F.adaptive_avg_pool2d(x, 1)
        both = [pooled, F.hardswish(pooled), F.max_pool2d(x, 5)]
        return self.head(torch.cat(both, 1).flatten(1))


@pytest.mark.parametrize(("net", "size"), [(Averaging, 32), (Pooling, 59)])
def test_averages_are_the_same_in_both_files(
    workshop: "Workshop", tmp_path: Path, net: Callable[[], nn.Module], size: int
) -> None:
    """With pools of their own, the files would differ by a step in many places."""
    torch.manual_seed(0)
    images = workshop.pixels(16, size)
    made = workshop.quantized(net(), images)
    graph = with_qdq(made.graph, made.scheme)
    target = int8_target(this_machine())
    path = tmp_path / "net.onnx"
    onnx.save(lowered(qdq_model(graph, size=size, name="averaging"), target), path)

    file = workshop.written(graph, tmp_path / "net.tflite", size=size)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {"image": images.numpy()})
    want = made.answers()
    last_bits = 1e-5 * np.abs(want).max()
    np.testing.assert_allclose(answers, want, rtol=0, atol=last_bits)
    lite = open_session(file).run(made.channels_last)
    np.testing.assert_allclose(lite, want, rtol=0, atol=last_bits)
