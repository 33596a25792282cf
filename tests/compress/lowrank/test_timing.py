"""Layers alone in ONNX Runtime: they compute what torch computes, and are timed."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from compress.lowrank.chain import chain
from compress.lowrank.timing import raced
from runtime.session import open_session


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        ([nn.Linear(7, 5)], (1, 7)),
        ([nn.Linear(7, 3, bias=False), nn.Linear(3, 5)], (1, 7)),
        ([nn.Linear(7, 3, bias=False), nn.Linear(3, 5)], (1, 4, 7)),
        (
            [nn.Conv2d(4, 6, (3, 5), stride=2, padding=(1, 2), dilation=2)],
            (1, 4, 12, 12),
        ),
        ([nn.Conv2d(4, 6, 3, padding="same", bias=False)], (1, 4, 9, 9)),
        (
            [
                nn.Conv2d(4, 2, 1, bias=False),
                nn.Conv2d(2, 3, 3, padding="valid", bias=False),
                nn.Conv2d(3, 6, 1),
            ],
            (1, 4, 9, 9),
        ),
    ],
)
def test_a_chain_computes_what_its_layers_do(
    layers: list[nn.Module], shape: tuple[int, ...], tmp_path: Path
) -> None:
    onnx.save(chain(layers, shape), tmp_path / "chain.onnx")
    image = torch.randn(shape)

    found = open_session(tmp_path / "chain.onnx").run(image.numpy())

    with torch.inference_mode():
        expected = nn.Sequential(*layers)(image)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_more_work_takes_more_time() -> None:
    """Sixteen times the work, where the work is what counts."""
    small, large = nn.Linear(512, 256), nn.Linear(512, 4096)
    rng = np.random.default_rng(0)

    times = raced([large, small], (1, 512), rng=rng)

    assert times[0] > 2 * times[1] > 0
