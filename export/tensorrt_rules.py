"""A lint of QDQ ONNX files for TensorRT: what its parser refuses or takes in silence.

A file that breaks a rule is refused on the device, clips there, or runs slower than it
could; TensorRT says so of some rules only. Each rule is a line of `RULES`, with its
source, and a graph in the tests that breaks it alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnx_ir as ir
from onnx.external_data_helper import uses_external_data

from export.lowering.graph import (
    DEQUANTIZE,
    QUANTIZE,
    WEIGHTED,
    attribute,
    dequantizer,
    given,
    grid_of,
    needed,
    nodes_of,
    numbers,
    readers,
)
from export.lowering.normal import is_quantised
from export.lowering.tensorrt import quantized_from, skip_of
from runtime.errors import InputRejectedError, one_line

# The newest that TensorRT 10.3, JetPack 6's, reads whole.
OPSET_MOST: Final = 20
# What TensorRT fuses with the sums of a convolution.
_FUSED: Final = frozenset(
    {"BatchNormalization", "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu"}
)
_GATES: Final = frozenset({"Sigmoid", "HardSigmoid", "HardSwish", "Mish", "Swish"})
_POOLS: Final = frozenset({"GlobalAveragePool", "AveragePool", "ReduceMean"})
_INTEGER: Final = frozenset(
    {
        *("QLinearConv", "QLinearMatMul", "QLinearAdd", "QLinearMul", "QGemm"),
        *("QLinearGlobalAveragePool", "QLinearAveragePool", "QLinearConcat"),
        *("QLinearSigmoid", "QLinearLeakyRelu", "ConvInteger", "MatMulInteger"),
        *("DynamicQuantizeLinear", "DynamicQuantizeMatMul"),
    }
)
_GUIDE: Final = "TensorRT Developer Guide, working with quantized types"
_PARSER: Final = "seen with NVIDIA's parser and builder (tensorrt-rtx 1.7.1)"


@dataclass(frozen=True)
class Rule:
    """What a file must keep to; find: names of the nodes that do not."""

    name: str
    says: str
    source: str
    find: Callable[[ir.Model], Iterator[str]]


@dataclass(frozen=True)
class Breach:
    """A rule that a node breaks."""

    rule: Rule
    node: str

    def as_text(self) -> str:
        """Say it in one clause."""
        return f"{self.node}: {self.rule.name}: {self.rule.says}"


def breaches(model: onnx.ModelProto) -> tuple[Breach, ...]:
    """Every breach of every rule in a QDQ model, in the order of the table."""
    graph = ir.from_proto(model)
    return tuple(Breach(rule, node) for rule in RULES for node in rule.find(graph))


def refuse_breaches(model: onnx.ModelProto, *, name: str, target: str) -> None:
    """Let no file for `target` be written that breaks a rule: an InputRejectedError."""
    found = breaches(model)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise InputRejectedError(
            f"export: {name} for {target} breaks a rule of TensorRT: "
            f"{found[0].as_text()}{more}; nothing was written"
        )


def breaches_of_file(path: Path) -> tuple[Breach, ...]:
    """The breaches of an ONNX file; an InputRejectedError if it cannot be read."""
    try:
        model = onnx.load(path, load_external_data=False)
        outside = any(map(uses_external_data, model.graph.initializer))
        found = () if outside else breaches(model)
    except Exception as error:  # protobuf's and onnx_ir's errors share no class
        raise InputRejectedError(
            f"{path}: is no ONNX model that can be read: {one_line(error)}; export it "
            "again"
        ) from error
    if outside:
        raise InputRejectedError(
            f"{path}: keeps its weights in another file; save it as one file"
        )
    return found


def is_float_file(path: Path) -> bool:
    """Whether an ONNX file that breaks no rule has no Q, which most rules are about."""
    model = ir.from_proto(onnx.load(path, load_external_data=False))
    return not is_quantised(model.graph)


def _newer(model: ir.Model) -> Iterator[str]:
    version = model.opset_imports.get("", 0)
    if version > OPSET_MOST:
        yield f"opset {version}"


def _shifted(model: ir.Model) -> Iterator[str]:
    for node in nodes_of(model.graph, QUANTIZE, DEQUANTIZE):
        if np.any(grid_of(node).zero):
            yield node.name or node.op_type


def _unsigned(model: ir.Model) -> Iterator[str]:
    for node in nodes_of(model.graph, QUANTIZE, DEQUANTIZE):
        if grid_of(node).zero.dtype in {np.dtype("uint8"), np.dtype("uint16")}:
            yield node.name or node.op_type


def _integer_operators(model: ir.Model) -> Iterator[str]:
    for node in model.graph:
        if node.op_type in _INTEGER:
            yield node.name or node.op_type


def _integer_biases(model: ir.Model) -> Iterator[str]:
    for node in nodes_of(model.graph, *WEIGHTED):
        if dequantizer(given(node, 2)) is not None:
            yield node.name or node.op_type


def _other_weights(model: ir.Model) -> Iterator[str]:
    for node in nodes_of(model.graph, "Conv", "Gemm"):
        reader = dequantizer(given(node, 1))
        if reader is None:
            continue
        codes, scale = numbers(needed(reader)), grid_of(reader).scale
        outputs = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
        axis = int(attribute(reader, "axis", 1))
        if codes is None or scale.ndim != 1 or (axis - outputs) % codes.ndim:
            yield node.name or node.op_type


def _half_quantized(model: ir.Model) -> Iterator[str]:
    for node in nodes_of(model.graph, "Conv", "Gemm"):
        source, weight = dequantizer(given(node, 0)), dequantizer(given(node, 1))
        if (source is None) != (weight is None):
            yield node.name or node.op_type


def _split_fusions(model: ir.Model) -> Iterator[str]:
    for node in model.graph:
        source = quantized_from(given(node, 0)) if node.op_type in _FUSED else None
        writer = None if source is None else source.producer()
        if writer is not None and writer.op_type in {*WEIGHTED, "BatchNormalization"}:
            yield node.name or node.op_type


def _split_pads(model: ir.Model) -> Iterator[str]:
    for node in nodes_of(model.graph, "Conv"):
        source = quantized_from(given(node, 0))
        writer = None if source is None else source.producer()
        if writer is not None and writer.op_type == "Pad":
            yield node.name or node.op_type


def _split_sums(model: ir.Model) -> Iterator[str]:
    for node in nodes_of(model.graph, "Add"):
        skip = skip_of(node)
        if skip is None:
            continue
        if dequantizer(given(node, skip)) is None or dequantizer(given(node, 1 - skip)):
            yield node.name or node.op_type


def _unlike_parts(model: ir.Model) -> Iterator[str]:
    for node in nodes_of(model.graph, "Concat"):
        sources = [dequantizer(value) for value in node.inputs]
        users = readers(node.outputs[0])
        if not any(sources) and not any(user.op_type == QUANTIZE for user in users):
            continue
        roundings = [user for user in users if user.op_type == QUANTIZE]
        grids = [grid_of(each) for each in (*sources, *roundings) if each is not None]
        alike = all(each.same_as(grids[0]) for each in grids)
        if not alike or None in sources or not roundings:
            yield node.name or node.op_type


def _half_pools(model: ir.Model) -> Iterator[str]:
    for node in nodes_of(model.graph, *_POOLS):
        users = readers(node.outputs[0])
        before = dequantizer(given(node, 0)) is not None
        after = any(user.op_type == QUANTIZE for user in users)
        if before != after and not _ends(node.outputs[0]):
            yield node.name or node.op_type


def _ends(value: ir.Value) -> bool:
    """Whether nothing but moves lies between `value` and the graph's output."""
    moves = {"Flatten", "Reshape", "Squeeze", "Cast"}
    while not value.is_graph_output():
        users = readers(value)
        if len(users) != 1 or users[0].op_type not in moves:
            return False
        value = users[0].outputs[0]
    return True


def _rounded_gates(model: ir.Model) -> Iterator[str]:
    for node in model.graph:
        if node.op_type in _GATES and dequantizer(given(node, 0)) is not None:
            yield node.name or node.op_type
        if node.op_type == "Mul" and any(map(_is_rounded_gate, node.inputs)):
            yield node.name or node.op_type


def _is_rounded_gate(value: ir.Value | None) -> bool:
    """Whether `value` is what a gate gives, rounded."""
    source = quantized_from(value)
    writer = None if source is None else source.producer()
    return writer is not None and writer.op_type in _GATES


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "opset",
        f"is at most {OPSET_MOST} for JetPack 6",
        "onnx-tensorrt, operators",
        _newer,
    ),
    Rule("zero point", "is 0 everywhere; the parser refuses others", _PARSER, _shifted),
    Rule("uint8", "is read as int8 and clips, which nobody says", _PARSER, _unsigned),
    Rule(
        "integer operator",
        "is refused; write Q and DQ around a float one",
        _PARSER,
        _integer_operators,
    ),
    Rule("bias", "is float; int32 behind a DQ is refused", _PARSER, _integer_biases),
    Rule(
        "weight", "is int8, stored, behind a DQ for each output", _GUIDE, _other_weights
    ),
    Rule(
        "half quantized",
        "has Q and DQ on its input and its weight, or on neither",
        _GUIDE,
        _half_quantized,
    ),
    Rule(
        "fusion",
        "has no Q and DQ between a convolution and its norm or clamp",
        _GUIDE,
        _split_fusions,
    ),
    Rule(
        "pad", "has no Q and DQ between a Pad and its convolution", _GUIDE, _split_pads
    ),
    Rule(
        "residual sum",
        "has Q and DQ on the skip, none behind its convolution",
        "TensorRT #1992, #3270",
        _split_sums,
    ),
    Rule(
        "concatenation",
        "has one scale on every input and its output",
        "TensorRT #4366 (about 30 % of the time)",
        _unlike_parts,
    ),
    Rule("average", "has Q and DQ on both sides of a pooling", _GUIDE, _half_pools),
    Rule(
        "gate",
        "has no Q and DQ within a swish or a sigmoid: float kernels",
        _GUIDE,
        _rounded_gates,
    ),
)
