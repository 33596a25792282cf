"""Networks that users have: INT8 keeps their answers, both files are the simulation.

One small net a kind, by post-training quantization with all that it does by default.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.float_operators import float_operators
from compress.int8.rules import pixel_levels
from compress.int8.simulate import QuantizedNet, with_qdq
from compress.quantization.ptq import quantized
from export.onnx.lower import int8_macs_fraction, lowered
from export.to_onnx import qdq_model
from runtime.machine import this_machine
from runtime.preprocess import Preprocess
from runtime.session import open_session
from runtime.target import TARGETS, int8_target

if TYPE_CHECKING:
    from conftest import Workshop

SIZE: Final = 32
CLASSES: Final = 10


class ClassToken(nn.Module):
    """A vision transformer of one block, its class token of no image."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 24))
        self.places = nn.Parameter(torch.randn(1, 17, 24) / 2)
        self.norm = nn.LayerNorm(24)
        self.qkv = nn.Linear(24, 72)
        self.out = nn.Linear(24, 24)
        self.mlp = nn.Sequential(nn.Linear(24, 48), nn.GELU(), nn.Linear(48, 24))
        self.head = nn.Linear(24, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(images.shape[0], -1, -1), x], 1) + self.places
        n, tokens, width = x.shape
        split = self.qkv(self.norm(x)).reshape(n, tokens, 3, 2, width // 2)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(query, key, value)
        x = x + self.out(seen.transpose(1, 2).reshape(n, tokens, width))
        logits: Tensor = self.head((x + self.mlp(x))[:, 0])
        return logits


class Mixer(nn.Module):
    """Linear layers over channels and over 16 tokens, as many where `width` is 16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 16)
        self.wide, self.narrow = nn.Linear(width, 64), nn.Linear(64, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        mixed = self.second(self.first(x.transpose(1, 2)).relu())
        x = x + mixed.transpose(1, 2)
        x = x + self.narrow(self.wide(x).relu())
        logits: Tensor = self.head(x.mean(1))
        return logits


class LastAxis(nn.Module):
    """Linear layers on maps whose channels come last, between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.wide, self.narrow = nn.Linear(16, 32), nn.Linear(32, 16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        y = self.narrow(self.wide(x.permute(0, 2, 3, 1)).relu()).permute(0, 3, 1, 2)
        logits: Tensor = self.head(self.depthwise(x + y).relu().mean((2, 3)))
        return logits


def pooled(*head: nn.Module) -> nn.Sequential:
    """A head behind 64 features."""
    stem = nn.Conv2d(3, 16, 3, 2, 1)
    return nn.Sequential(stem, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), *head)


class Levit(nn.Module):
    """Batch norms of tokens, [n * t, c] and [n, t, c]: one is folded, one is left."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 24, 8, 8)
        self.first, self.second = nn.Linear(24, 24, bias=False), nn.Linear(24, 24)
        self.norm, self.by_token = nn.BatchNorm1d(24), nn.BatchNorm1d(16)
        self.head = nn.Linear(24, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.first(self.patches(images).flatten(2).transpose(1, 2))
        x = self.norm(x.flatten(0, 1)).reshape_as(x).relu()
        logits: Tensor = self.head(self.by_token(self.second(x)).mean(1))
        return logits


class Joined(nn.Module):
    """A batch norm behind a concatenation of features, which no layer can take."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.left, self.right = nn.Linear(16, 16), nn.Linear(16, 16)
        self.norm, self.head = nn.BatchNorm1d(32), nn.Linear(32, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu().mean((2, 3))
        both = torch.cat([self.left(x), self.right(x)], 1)
        logits: Tensor = self.head(self.norm(both).relu())
        return logits


class Sums(nn.Module):
    """Scaled sums and differences, of layers and of what no layer gave."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.one, self.other = nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu()
        x = torch.add(x, self.one(x), alpha=0.25).relu()
        x = torch.add(self.other(x), x, alpha=-2)
        x = torch.sub(x, F.max_pool2d(x, 3, 1, 1), alpha=0.5) - 0.1
        logits: Tensor = self.head((1 - x).relu().mean((2, 3)))
        return logits


class Padded(nn.Module):
    """TensorFlow's "same" pools and convolutions: more padding at the far side."""

    def __init__(self, edges: tuple[int, ...]) -> None:
        super().__init__()
        self.edges = edges
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.even = nn.Conv2d(16, 16, 4, padding="same")
        self.head = nn.Linear(16, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = F.pad(self.stem(images).relu(), self.edges, value=float("-inf"))
        x = self.even(F.max_pool2d(x, 3, 2))
        x = F.max_pool2d(F.pad(x, self.edges, value=float("-inf")), 3, 2)
        logits: Tensor = self.head(F.max_pool2d(x, 3).flatten(1))
        return logits


def one_output() -> nn.Module:
    """A regression."""
    return pooled(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))


FLOAT_IN_VIT: Final = frozenset(
    {"expand", "add", "layer_norm", "scaled_dot_product_attention", "gelu"}
)
# What stays float, beside its making. Means of tokens have no integer kernel.
KINDS: Final[dict[str, tuple[Callable[[], nn.Module], frozenset[str]]]] = {
    "class token": (ClassToken, FLOAT_IN_VIT),
    "tokens": (lambda: Mixer(24), frozenset({"mean"})),
    "as many tokens as channels": (lambda: Mixer(16), frozenset({"mean"})),
    "channels last": (LastAxis, frozenset()),
    "norm of features": (
        lambda: pooled(
            *(nn.Linear(64, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU()),
            *(nn.Linear(32, CLASSES), nn.BatchNorm1d(CLASSES)),
        ),
        frozenset(),
    ),
    "norm before a layer": (
        lambda: pooled(nn.BatchNorm1d(64), nn.Linear(64, CLASSES)),
        frozenset(),
    ),
    "norm of tokens": (Levit, frozenset({"mean"})),
    "norm of a concatenation": (Joined, frozenset()),
    "scaled sums": (Sums, frozenset({"add", "rsub"})),
    "padded to one side": (lambda: Padded((0, 1, 0, 1)), frozenset()),
    "padded to both sides": (lambda: Padded((1, 1, 1, 1)), frozenset()),
    "one output": (one_output, frozenset()),
}


def settled(net: nn.Module, images: Tensor) -> nn.Module:
    """A random net with batch norms that fit its activations."""
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.momentum = 0.5
                layer.weight.uniform_(0.7, 1.3)
                layer.bias.normal_(0, 0.3)
        for _ in range(3):
            net.train()(images)
    return net.eval()


def decibels(want: np.ndarray, have: np.ndarray) -> float:
    """How far above its error an answer is."""
    noise = np.square(want - have, dtype=np.float64).sum() + 1e-30
    return float(10 * np.log10(np.square(want, dtype=np.float64).sum() / noise))


# Torch says how it pads for an even kernel.
@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_this_kind_keeps_its_answers_in_both_formats(
    workshop: "Workshop", tmp_path: Path, kind: str
) -> None:
    """Network to grids: tens of dB are kept; grids to files: all but last bits."""
    pytest.importorskip("litert_torch")
    make, floats = KINDS[kind]
    torch.manual_seed(0)
    images = workshop.pixels(8, SIZE)
    net = settled(make(), images)
    graph = captured(net, size=SIZE, name="net")
    canonical_(graph)
    how = Preprocess(size=SIZE, resize=SIZE)
    made = quantized(graph, lambda: [images], levels=pixel_levels(how.mean, how.std))
    with torch.inference_mode():
        exact, want = net(images).numpy(), made(images).numpy()
        rewritten = graph(images).numpy()
    qdq = with_qdq(made.graph, made.scheme)
    raw = qdq_model(qdq, size=SIZE, name="net")
    here = tmp_path / "here.onnx"
    onnx.save(lowered(raw, int8_target(this_machine())), here)
    arm = tmp_path / "arm.onnx"
    onnx.save(lowered(raw, TARGETS["generic-arm64"]), arm)
    lite = workshop.written(
        qdq,
        tmp_path / "net.tflite",
        size=SIZE,
        classes=tuple(map(str, range(exact.shape[1]))),
    )

    left = list(float_operators(made))
    answers = {
        "here": open_session(here).run(images.numpy()),
        "tflite": open_session(lite).run(
            np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1))
        ),
    }

    assert decibels(exact, rewritten) > 110
    assert decibels(exact, want) > 25
    assert {name: decibels(want, have) > 60 for name, have in answers.items()} == {
        "here": True,
        "tflite": True,
    }
    assert {each["operator"] for each in left} == floats
    share = sum(float(str(each["macs_share"])) for each in left)
    assert int8_macs_fraction(arm) == pytest.approx(1 - share, abs=1e-3)
    assert int8_macs_fraction(here) > 0.999 - share  # with channels filled up


def test_a_shared_axis_is_told_from_channels() -> None:
    """With as many tokens as channels, a wrong axis would go unnoticed but for errors.

    Stretching channels changes nothing that is computed; stretching tokens would.
    """
    torch.manual_seed(0)
    net = Mixer(16).eval()
    scale = torch.logspace(-1.5, 0, 64)
    with torch.no_grad():  # channels of very different ranges: worth stretching
        net.wide.weight.mul_(scale[:, None])
        net.wide.bias.mul_(scale)
        net.narrow.weight.div_(scale)
    images = torch.randn(8, 3, SIZE, SIZE)
    graph = captured(net, size=SIZE, name="net")
    canonical_(graph)

    made = quantized(graph, lambda: [images])

    with torch.inference_mode():
        want, have = net(images).numpy(), QuantizedNet(made.graph, made.scheme)(images)
        stretched = made.graph(images).numpy()
    assert "wide_weight_equal" in dict(made.graph.named_parameters())
    assert decibels(want, stretched) > 40  # its biases make up for rounded weights
    assert decibels(want, have.numpy()) > 30
