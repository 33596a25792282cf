"""Small networks with lived-in batch norms, as graphs on their grids."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, fx, nn

from compress.context.console import Console
from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.plan import Plan, planned
from compress.int8.simulate import QuantizedNet
from compress.models.build import build
from compress.models.spec import ModelSpec
from compress.quantization.calibrate import scheme_of, seen_ranges

CLASSES = tuple("abcdefghij")


@dataclass(frozen=True)
class Made:
    """A float network, its canonical graph and plan, and both on one set of grids."""

    net: nn.Module
    graph: fx.GraphModule
    plan: Plan
    quantized: QuantizedNet
    images: Tensor


def lived_in(net: nn.Module, *, size: int) -> nn.Module:
    """`net` with batch-norm statistics of its own activations, as training leaves."""
    norms = [each for each in net.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
        norm.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.randn(16, 3, size, size))
    for norm in norms:
        norm.momentum = 0.1
    return net.eval()


def made(name: str, *, size: int = 64) -> Made:
    """The network of that name, quantized on noise."""
    torch.manual_seed(0)
    model = build(
        ModelSpec(name=name),
        classes=CLASSES,
        native_size=size,
        size=size,
        seed=0,
        console=Console(verbosity="quiet"),
    )
    net = lived_in(model.net, size=size)
    graph = captured(net, size=size, name=name)
    canonical_(graph)
    plan = planned(graph)
    images = torch.randn(16, 3, size, size)

    def batches() -> Iterator[Tensor]:
        return iter(images.split(8))

    scheme = scheme_of(graph, plan, seen_ranges(graph, plan, batches), "minmax")
    return Made(net, graph, plan, QuantizedNet(graph, scheme), images)


@pytest.fixture(scope="session")
def quantized() -> Callable[[str], Made]:
    """Give a network of the model table on its grids; each is made once."""
    known: dict[str, Made] = {}

    def get(name: str) -> Made:
        if name not in known:
            known[name] = made(name)
        return known[name]

    return get
