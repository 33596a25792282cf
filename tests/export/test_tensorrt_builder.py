"""NVIDIA's own parser and builder take our files; they need no GPU for it."""

import ctypes
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import onnx
import pytest
import torch
from torch import nn

from compress.int8.simulate import QuantizedNet, with_qdq
from compress.int8.symmetric import halved, mirrored
from compress.vision import timm, torchvision
from export.half import in_half
from export.lower import lowered
from export.tensorrt_rules import breaches
from export.to_onnx import qdq_model
from runtime.target import target

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Quantised, Workshop

SIZE = 64
NETS = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=10),
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=10),
    "mobilenet_v3_large": lambda: torchvision.models.mobilenet_v3_large(num_classes=10),
    "tf_efficientnet_lite0": lambda: timm.create_model(
        "tf_efficientnet_lite0", num_classes=10
    ),
}
MISSING = (
    "tensorrt-rtx is not installed, which runs without a GPU (pip install "
    "'edgepress[jetson-test]')"
)


def tensorrt() -> ModuleType:
    """NVIDIA's library for RTX, whose parser and builder are TensorRT's."""
    if importlib.util.find_spec("tensorrt_rtx_bindings") is None:
        pytest.skip(MISSING)
    libraries = importlib.util.find_spec("tensorrt_rtx_libs")
    if libraries is None or libraries.origin is None:
        pytest.skip(MISSING)
    # The bindings look for them on the loader's path alone.
    for name in ("libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"):
        ctypes.CDLL(str(Path(libraries.origin).parent / name), ctypes.RTLD_GLOBAL)
    return importlib.import_module("tensorrt_rtx_bindings")


def engine_of(trt: ModuleType, model: onnx.ModelProto) -> tuple[int, list[str]]:
    """The bytes of an engine for Ampere, strongly typed, and what the parser said."""
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model.SerializeToString()):
        count = parser.num_errors
        return 0, [str(parser.get_error(each).desc()) for each in range(count)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    engine = builder.build_serialized_network(network, config)
    return 0 if engine is None else len(bytes(engine)), []


def int8_model(
    net: nn.Module, chosen: "Callable[[nn.Module, torch.Tensor], Quantised]"
) -> onnx.ModelProto:
    """A random net's file for a Jetson; what its grids are does not matter here."""
    noise = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    made = chosen(net.eval(), noise)
    fit = mirrored(QuantizedNet(made.graph, made.scheme))
    raw = qdq_model(
        with_qdq(fit.graph, fit.scheme), size=SIZE, name="net", batch="static"
    )
    return lowered(raw, target("jetson"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_tensorrt_parses_and_builds_our_files(name: str, workshop: "Workshop") -> None:
    """Strongly typed, as TensorRT 11 is; the engine's weights are a byte each."""
    trt = tensorrt()
    torch.manual_seed(0)
    model = int8_model(NETS[name](), workshop.chosen)

    size, said = engine_of(trt, model)

    assert said == []
    assert size > 0


@pytest.mark.parametrize("around", [False, True], ids=["float", "int8"])
def test_tensorrt_takes_files_in_half_precision(
    around: bool, everything: "Quantised"
) -> None:
    """What TensorRT 11 is to compute in FP16 is typed so, alone and around INT8."""
    trt = tensorrt()
    net = everything.net
    if around:
        fit = halved(mirrored(QuantizedNet(everything.graph, everything.scheme)))
        net = with_qdq(fit.graph, fit.scheme)
    raw = qdq_model(net, size=32, name="net", batch="static")
    model = in_half(lowered(raw, target("jetson")) if around else raw)

    size, said = engine_of(trt, model)

    assert said == []
    assert size > 0


def test_what_our_lint_calls_a_breach_the_parser_refuses_too(
    everything: "Quantised",
) -> None:
    """The other way round: a file for ARM has zero points."""
    trt = tensorrt()
    raw = qdq_model(
        with_qdq(everything.graph, everything.scheme),
        size=32,
        name="net",
        batch="static",
    )
    model = lowered(raw, target("generic-arm64"))

    size, said = engine_of(trt, model)

    assert size == 0
    assert said
    assert {"zero point", "bias"} <= {each.rule.name for each in breaches(model)}
