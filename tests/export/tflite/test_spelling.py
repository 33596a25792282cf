"""Spellings of a Q/DQ graph: what they replace, and what they must not."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.int8.simulate import with_qdq
from export.tflite import qdq
from export.tflite.integers import check_edges
from export.tflite.legalize import spell_
from export.tflite.reading import operators
from runtime.errors import InputRejectedError
from runtime.session import open_session

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Quantized, Workshop

pytest.importorskip("torchao")
ATEN = torch.ops.aten


def test_a_spelled_graph_computes_what_it_computed(everything: "Quantized") -> None:
    """In float, which may round otherwise next to a tie: most logits are equal."""
    qdq.load_operators()
    plain = with_qdq(everything.graph, everything.scheme)
    spelled = with_qdq(everything.graph, everything.scheme)

    spell_(spelled, everything.images[:1])

    targets = {node.target for node in spelled.graph.nodes}
    assert ATEN.hardsigmoid.default not in targets
    with torch.inference_mode():
        for image in everything.images[:4]:
            want, have = plain(image[None]), spelled(image[None])
            torch.testing.assert_close(
                have, want, rtol=0, atol=float(want.abs().max()) / 50
            )


def test_a_change_of_grid_that_would_be_lost_is_refused() -> None:
    qdq.load_operators()
    graph = torch.fx.Graph()
    image = graph.placeholder("image")
    once = qdq.snapped(graph, image, qdq.Grid(0.1, 0))
    graph.output(qdq.snapped(graph, once, qdq.Grid(0.2, 0)))

    with pytest.raises(
        InputRejectedError, match=r"image would change from .*0\.1.*0\.2"
    ):
        check_edges(torch.fx.GraphModule(nn.Module(), graph))


class Rectified(nn.Module):
    """A convolution whose result is read with and without its clamp."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.second = nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 10]; padding where numbers are below zero, a pool rounded up."""
        x = nn.functional.max_pool2d(self.first(images), 3, 2, ceil_mode=True)
        x = nn.functional.hardtanh(self.second(x), 0, 2)
        return self.head(x.mean((2, 3)))


def test_pools_of_negative_numbers_and_other_clamps_are_exact(
    workshop: "Workshop", tmp_path: "Path"
) -> None:
    torch.manual_seed(2)
    made = workshop.quantized(Rectified(), workshop.pixels(16, 32))
    graph = with_qdq(made.graph, made.scheme)

    file = workshop.written(graph, tmp_path / "net.tflite")

    have = open_session(file).run(made.channels_last)
    want = made.answers()
    assert abs(have - want).max() < 1e-5 * abs(want).max()


def test_what_is_left_in_float_is_float_in_the_file(
    everything: "Quantized", workshop: "Workshop", tmp_path: "Path"
) -> None:
    scheme = everything.scheme.without(frozenset({"depthwise"}))
    file = workshop.written(with_qdq(everything.graph, scheme), tmp_path / "net.tflite")

    weighted = [
        each for each in operators(file.path) if each.name == "DEPTHWISE_CONV_2D"
    ]
    assert [each.int8 for each in weighted] == [False, True, True]
    assert not {"FLOOR", "CEIL"} & {each.name for each in operators(file.path)}
    have = open_session(file).run(everything.channels_last)
    want = replace(everything, scheme=scheme).answers()
    assert np.square(have - want).sum() < 1e-4 * np.square(want).sum()
