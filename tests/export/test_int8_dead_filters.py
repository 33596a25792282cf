"""Filters of zero or next to it, whose biases live on: INT8 costs what it would else.

Masked, pruned to nothing, or dead since the training: the oracle is the network that
has them cut out, what they always give added to the biases behind them.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.rules import pixel_levels
from compress.int8.simulate import QuantizedNet, with_qdq
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.quantization.ptq import quantized
from compress.quantization.qat import QatNet
from export.onnx.lower import lowered
from export.to_onnx import qdq_model
from runtime.machine import this_machine
from runtime.preprocess import Preprocess
from runtime.session import open_session
from runtime.target import int8_target

if TYPE_CHECKING:
    from conftest import Workshop

SIZE, DEAD = 32, 8
HOW = Preprocess(size=SIZE, resize=SIZE)
# Weights of a dead filter; the last ones are small as those that training shrinks.
TINY = (0.0, 1e-12, 1e-7)


class Half(nn.Module):
    """A convolution and a linear layer, half of whose filters can be dead."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(16, 2 * DEAD, 3, padding=1)
        self.hidden = nn.Linear(2 * DEAD, 2 * DEAD)
        self.head = nn.Linear(2 * DEAD, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 10]."""
        x = F.relu(self.middle(F.relu(self.stem(images))))
        return self.head(F.relu(self.hidden(x.mean((2, 3)))))


class Read(Half):
    """The same, read where what dead filters give is no part of a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.padded = nn.Conv2d(2 * DEAD, 2 * DEAD, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 10]."""
        first = F.relu(self.stem(images))
        x = F.relu(self.middle(first))
        x = F.relu(self.padded(x) + first)
        y = F.relu(self.hidden(x.mean((2, 3))))
        return self.head(y + x.mean((2, 3)))


def half_dead(size: float, *, seed: int = 0, kind: Callable[[], Half] = Half) -> Half:
    """With weights of `size`, and biases that others have too."""
    torch.manual_seed(seed)
    net = kind().eval().requires_grad_(False)
    for each in net.children():
        nn.init.kaiming_normal_(each.weight)
    for layer in (net.middle, net.hidden):
        layer.weight[:DEAD] = size * layer.weight[:DEAD].sign()
        layer.bias[:DEAD] = torch.linspace(-0.5, 2, DEAD)
    return net


def without_dead(net: Half) -> Half:
    """The same function of half the filters."""
    cut = copy.deepcopy(net)
    for layer, reader in ((cut.middle, cut.hidden), (cut.hidden, cut.head)):
        given = F.relu(layer.bias[:DEAD])
        reader.bias += reader.weight[:, :DEAD] @ given
        reader.weight = nn.Parameter(reader.weight[:, DEAD:], requires_grad=False)
        layer.weight = nn.Parameter(layer.weight[DEAD:], requires_grad=False)
        layer.bias = nn.Parameter(layer.bias[DEAD:], requires_grad=False)
    return cut


def by_ptq(net: nn.Module, images: Tensor) -> QuantizedNet:
    """After training, with all that is default."""
    graph = captured(net, size=SIZE, name="half")
    canonical_(graph)
    levels = pixel_levels(HOW.mean, HOW.std)
    return quantized(graph, lambda: [images], levels=levels)


def by_qat(net: nn.Module, images: Tensor, *, lsq: bool = False) -> QuantizedNet:
    """What training on grids begins with."""
    names = tuple(map(str, range(10)))
    spec = ModelSpec(name="half")
    model = Model(spec=spec, net=net, preprocess=HOW, classes=names)
    trained = QatNet(
        model,
        lambda: [images],
        learn_scales=lsq,
        gather_until=1.0,
        watch_until=1.0,
    )
    return trained.eval().quantized()


def by_lsq(net: nn.Module, images: Tensor) -> QuantizedNet:
    """The same with scales that are learnt."""
    return by_qat(net, images, lsq=True)


def sqnr_db(exact: Tensor, found: Tensor) -> float:
    """Signal to noise."""
    noise = (exact - found).square().sum()
    return float(10 * torch.log10(exact.square().sum() / noise))


@pytest.mark.parametrize("make", [by_ptq, by_qat, by_lsq])
@pytest.mark.parametrize("size", TINY)
def test_dead_filters_cost_nothing(
    workshop: "Workshop",
    size: float,
    make: Callable[[nn.Module, Tensor], QuantizedNet],
) -> None:
    """As much is kept as of the net without them, which is the oracle."""
    images = workshop.pixels(32, SIZE)
    net = half_dead(size)
    cut = without_dead(net)
    torch.testing.assert_close(cut(images), net(images), rtol=0, atol=1e-4)

    found, wanted = make(net, images), make(cut, images)

    with torch.no_grad():
        kept = sqnr_db(net(images), found(images))
        assert kept > sqnr_db(cut(images), wanted(images)) - 1.0


@pytest.mark.parametrize("make", [by_ptq, by_qat, by_lsq])
def test_dead_filters_that_are_read_everywhere_keep_their_biases(
    workshop: "Workshop", make: Callable[[nn.Module, Tensor], QuantizedNet]
) -> None:
    """Padded, added up: what they give stays, on a scale that its bias fits on."""
    images = workshop.pixels(32, SIZE)
    dead, alive = (half_dead(size, kind=Read) for size in (0.0, 0.2))

    found, wanted = make(dead, images), make(alive, images)

    with torch.no_grad():
        kept = sqnr_db(dead(images), found(images))
        assert kept > sqnr_db(alive(images), wanted(images)) - 3.0


@pytest.mark.parametrize("kind", [Half, Read])
def test_files_of_dead_filters_answer_as_the_simulation(
    workshop: "Workshop", tmp_path: Path, kind: Callable[[], Half]
) -> None:
    """Their scales and int32 biases are within what both runtimes' kernels take."""
    images = workshop.pixels(32, SIZE)
    net = by_ptq(half_dead(0.0, kind=kind), images)
    graph = with_qdq(net.graph, net.scheme)
    with torch.inference_mode():
        want = net(images).numpy()
    path = tmp_path / "half.onnx"
    target = int8_target(this_machine())
    onnx.save(lowered(qdq_model(graph, size=SIZE, name="half"), target), path)

    file = workshop.written(graph, tmp_path / "half.tflite", size=SIZE)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {"image": images.numpy()})
    last_bits = 1e-5 * np.abs(want).max()
    np.testing.assert_allclose(answers, want, rtol=0, atol=last_bits)
    np.testing.assert_allclose(_lite(file, images), want, rtol=0, atol=last_bits)


def _lite(file: object, images: Tensor) -> npt.NDArray[np.float32]:
    """What LiteRT answers."""
    last = np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1))
    found: npt.NDArray[np.float32] = open_session(file).run(last)  # type: ignore[arg-type]
    return found
