"""Sums and differences that the converter refuses, or gets wrong, in a float file."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from runtime.session import open_session

if TYPE_CHECKING:
    from conftest import Workshop

pytest.importorskip("litert_torch")


class Scaled(nn.Module):
    """Factors, and a number and a constant less a convolution's result."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.more = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.most = nn.Parameter(torch.rand(1, 8, 1, 1))
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        x = torch.add(x, self.more(x), alpha=-2)
        x = torch.sub(self.most - self.more(x), x, alpha=0.25)
        x = torch.rsub(self.more(x), 2.0, alpha=3)
        logits: Tensor = self.head((1 - self.more(x)).mean((2, 3)))
        return logits


def test_scaled_sums_and_differences_are_what_they_say(
    workshop: "Workshop", tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net, images = Scaled().eval(), workshop.pixels(2, 32)

    file = workshop.written(net, tmp_path / "net.tflite", dtype="float32")

    with torch.inference_mode():
        want = net(images).numpy()
    have = open_session(file).run(
        np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1))
    )
    np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
