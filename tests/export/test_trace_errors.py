"""What cannot be exported is told by layer and operator, never by a tool's own line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.int8.canonicalize import canonical_
from compress.int8.capture import ATEN, captured
from export.to_onnx import to_onnx
from export.to_tflite import to_tflite
from export.trace_errors import refusal
from runtime.artifact import Artifact
from runtime.errors import InputRejectedError
from runtime.preprocess import Preprocess

CLASSES = ("a", "b")


class Around(nn.Module):
    """A small classifier around one layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.odd = layer
        self.head = nn.Linear(8, len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 2]."""
        return self.head(self.odd(self.stem(images)).mean((2, 3)))


class Running(nn.Module):
    """A maximum so far, for which no exporter has an operator."""

    def forward(self, x: Tensor) -> Tensor:
        """As large as `x`."""
        return torch.cummax(x, 2)[0]


class Gate(nn.Module):
    """A gate as tutorials write it."""

    def __init__(self) -> None:
        super().__init__()
        self.excite = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """As large as `x`."""
        n, c, _, _ = x.shape
        gate = torch.sigmoid(self.excite(x.mean((2, 3))))
        return x * gate.view(n, c, 1, 1).expand_as(x)


def to(format_: str, net: nn.Module, folder: Path) -> Artifact:
    """Export to one of the formats."""
    write = to_tflite if format_ == "tflite" else to_onnx
    return write(
        net.eval(),
        size=16,
        path=folder / f"net.{format_}",
        classes=CLASSES,
        preprocess=Preprocess(size=16, resize=16),
        recipe_sha256="f00",
        name="mine",
    )


@pytest.mark.parametrize(
    ("format_", "layer", "said"),
    [
        ("onnx", Running(), r"because of layer odd \(aten\.cummax\): ONNX has no such"),
        (
            "tflite",
            Running(),
            r"because of layer odd \(aten\.cummax\): TFLite's conver",
        ),
        (
            "tflite",
            nn.ConvTranspose2d(8, 8, 3, 2, 1, 1, groups=8),
            r"because of layer odd \(aten\.conv_transpose2d \(.*groups 8\)\): TFLite",
        ),
    ],
)
def test_layer_and_operator_are_named(
    tmp_path: Path, format_: str, layer: nn.Module, said: str
) -> None:
    """In one sentence, of the kind that a run expects."""
    if format_ == "tflite":
        pytest.importorskip("litert_torch")

    with pytest.raises(InputRejectedError, match=said) as caught:
        to(format_, Around(layer), tmp_path)

    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_tool_is_never_the_culprit() -> None:
    """A converter is installed, as networks may be, but it is no network."""
    with pytest.raises(np.linalg.LinAlgError) as caught:
        np.linalg.inv(np.zeros((2, 2)))

    said = refusal(caught.value, name="mine")

    # The innermost line of the network is in this file, not in numpy's.
    assert "test_trace_errors.py, line" in said
    assert "Singular matrix" in said


def test_a_broadcast_is_left_to_the_operator_that_does_it() -> None:
    """The graph has no expand left, and answers as the network does."""
    torch.manual_seed(0)
    net = Around(Gate()).eval()
    images = torch.randn(3, 3, 16, 16)
    graph = captured(net, size=16, name="mine")
    assert any(node.target is ATEN.expand.default for node in graph.graph.nodes)

    canonical_(graph)

    assert all(node.target is not ATEN.expand.default for node in graph.graph.nodes)
    with torch.inference_mode():
        torch.testing.assert_close(graph(images), net(images))


def test_an_expand_that_makes_a_tensor_larger_stays() -> None:
    """Beside a tensor of its own old shape it is what gives the sum its shape."""

    class Larger(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            narrow = x.mean((2, 3), keepdim=True)
            return narrow.expand(-1, -1, 4, 4) * narrow

    net = Around(Larger()).eval()
    images = torch.randn(2, 3, 16, 16)
    graph = captured(net, size=16, name="mine")

    canonical_(graph)

    with torch.inference_mode():
        torch.testing.assert_close(graph(images), net(images))
    assert any(node.target is ATEN.expand.default for node in graph.graph.nodes)
