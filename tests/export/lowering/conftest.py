"""Small quantized networks as raw QDQ models, and what their simulation answers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from torch import fx, nn

from compress.context.vision import timm, torchvision
from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.grids import Scheme
from compress.int8.plan import planned
from compress.int8.simulate import simulated, with_qdq
from compress.quantization.calibrate import scheme_of, seen_ranges
from export.to_onnx import qdq_model

SIZE = 64
Answers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Raw:
    """A network on its grids: as a graph, as a model that is not lowered, answering."""

    name: str
    net: nn.Module
    graph: fx.GraphModule
    scheme: Scheme
    model: onnx.ModelProto
    images: Answers
    answers: Answers


def raw(name: str, net: nn.Module) -> Raw:
    """Quantize `net` on noise."""
    graph = captured(net, size=SIZE, name=name)
    canonical_(graph)
    plan = planned(graph)
    noise = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    seen = seen_ranges(graph, plan, lambda: [noise])
    scheme = scheme_of(graph, plan, seen, "minmax")
    with torch.inference_mode():
        answers = simulated(graph, scheme)(noise).numpy()
    model = qdq_model(with_qdq(graph, scheme), size=SIZE, name=name)
    return Raw(name, net, graph, scheme, model, noise.numpy(), answers)


@pytest.fixture(scope="session")
def quantized() -> Callable[[str], Raw]:
    """Give a network by its name in timm, or tv:NAME in torchvision; made once."""
    known: dict[str, Raw] = {}

    def get(name: str) -> Raw:
        if name not in known:
            torch.manual_seed(0)
            source, _, plain = name.rpartition(":")
            net = (
                torchvision.models.get_model(plain, num_classes=10)
                if source
                else timm.create_model(plain, num_classes=10)
            )
            known[name] = raw(name, net.eval())
        return known[name]

    return get


def answers_of(
    path: Path, images: Answers, *, optimized: bool = True, keep: Path | None = None
) -> Answers:
    """What ONNX Runtime computes of a file; `keep`: where its own graph goes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if not optimized:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    if keep is not None:
        options.optimized_model_filepath = str(keep)
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    found: Answers = session.run(None, {"image": images})[0]
    return found


@pytest.fixture
def asked() -> Callable[..., Answers]:
    """Ask ONNX Runtime."""
    return answers_of
