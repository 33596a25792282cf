"""Layers that give nothing, or next to it: files whose kernels are made for them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

from compress.int8.canonicalize import canonical_
from compress.int8.capture import ATEN, captured
from compress.int8.operators import inputs_of, is_weighted, rule_of, weight_of, written
from compress.int8.simulate import QuantizedNet, is_int8, with_qdq
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.quantization.ptq import quantized
from compress.quantization.qat import QatNet
from runtime.preprocess import Preprocess
from runtime.session import open_session

if TYPE_CHECKING:
    from conftest import Workshop

SIZE, CHANNELS = 32, 16
HOW = Preprocess(size=SIZE, resize=SIZE)
# XNNPACK's operators refuse a multiplier of this size.
TOO_LARGE = 256.0


class Still(nn.Module):
    """A convolution that its ReLU silences, and a gate that stays shut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, stride=2, padding=1)
        self.silent = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.gate = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.after = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.head = nn.Linear(CHANNELS, 10)
        for each in self.children():
            nn.init.kaiming_normal_(each.weight)
        for each in (self.silent, self.gate):
            nn.init.constant_(each.bias, -100.0)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 10]."""
        x = F.relu(self.stem(images))
        gate = F.hardsigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        x = F.relu(x + self.after(F.relu(self.silent(x))) + self.after(x * gate))
        return self.head(x.mean((2, 3)))


def by_ptq(net: nn.Module, images: Tensor) -> QuantizedNet:
    """After training, with all that is default."""
    graph = captured(net, size=SIZE, name="still")
    canonical_(graph)
    return quantized(graph, lambda: [images])


def by_qat(net: nn.Module, images: Tensor) -> QuantizedNet:
    """What training on grids begins with."""
    names = tuple(map(str, range(10)))
    model = Model(spec=ModelSpec(name="still"), net=net, preprocess=HOW, classes=names)
    trained = QatNet(
        model,
        lambda: [images],
        learn_scales=False,
        gather_until=1.0,
        watch_until=1.0,
    )
    return trained.eval().quantized()


def multipliers(net: QuantizedNet) -> dict[str, float]:
    """The largest of every convolution, linear layer and product that is rounded."""
    found, grids = {}, net.scheme.activations
    for node in net.graph.graph.nodes:
        target = grids.get(written(node).name)
        if target is None or not is_int8(node, net.scheme):
            continue
        (first, *others) = (grids[each.name] for each in inputs_of(node, rule_of(node)))
        if is_weighted(node):
            largest = float(net.scheme.weights[str(weight_of(node).target)].max())
            found[node.name] = first.scale * largest / target.scale
        elif node.target is ATEN.mul.Tensor:
            found[node.name] = first.scale * others[0].scale / target.scale
    return found


@pytest.mark.parametrize("make", [by_ptq, by_qat])
def test_no_multiplier_is_too_large_for_kernels(
    workshop: "Workshop", make: Callable[[nn.Module, Tensor], QuantizedNet]
) -> None:
    torch.manual_seed(0)
    net, images = Still().eval().requires_grad_(False), workshop.pixels(16, SIZE)

    found = multipliers(make(net, images))

    assert len(found) == 6
    assert max(found.values()) < TOO_LARGE


def test_a_file_with_still_layers_answers_as_the_simulation(
    workshop: "Workshop", tmp_path: Path
) -> None:
    """Oracle: integer kernels in torch, which take any multiplier."""
    pytest.importorskip("litert_torch")
    torch.manual_seed(0)
    net, images = Still().eval().requires_grad_(False), workshop.pixels(16, SIZE)
    still = by_ptq(net, images)
    with torch.inference_mode():
        want = still(images).numpy()

    file = workshop.written(
        with_qdq(still.graph, still.scheme), tmp_path / "still.tflite", size=SIZE
    )

    last = np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1))
    have = open_session(file).run(last)
    np.testing.assert_allclose(have, want, rtol=0, atol=1e-5 * np.abs(want).max())
