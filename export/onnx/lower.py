"""A quantized graph as the ONNX file a target's runtime is fast on, scales kept."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import onnx
import onnx_ir as ir

from export.onnx.lowering.canonicalize import is_quantized, macs, merged_, normal_
from export.onnx.lowering.channels import depthwise_widths_, image_channels_
from export.onnx.lowering.clamps import clamps_saturate_, gates_are_clips_
from export.onnx.lowering.graph import WEIGHTED, dequantizer, given, nodes_of
from export.onnx.lowering.names import named_
from export.onnx.lowering.padding import pads_join_convolutions_
from export.onnx.lowering.tensorrt import (
    float_biases_,
    read_in_int8_,
    symmetric_,
)
from export.onnx.lowering.tokens import tokens_are_rows_
from export.onnx.lowering.weights import (
    signed_,
    unsigned_,
    unsigned_weights_,
)
from runtime.backends.ort import imported
from runtime.errors import InputRejectedError, RecipeError
from runtime.target import Target

Pass = Callable[[ir.Graph], None]

# Opset 18's own version of the format; nothing newer is used.
IR_VERSION: Final = 8
# Every kind of integers begins with what no grid's kind matters for, and ends with
# what saturates: the clamps.
_X86: Final[tuple[Pass, ...]] = (
    unsigned_,
    tokens_are_rows_,
    pads_join_convolutions_,
    depthwise_widths_,
    clamps_saturate_,
    gates_are_clips_,
    image_channels_,
)
_ARM: Final[tuple[Pass, ...]] = (
    signed_,
    tokens_are_rows_,
    pads_join_convolutions_,
    clamps_saturate_,
    gates_are_clips_,
)
_TENSORRT: Final[tuple[Pass, ...]] = (
    signed_,
    pads_join_convolutions_,
    read_in_int8_,
    symmetric_,
    float_biases_,
)


def lowered(model: onnx.ModelProto, target: Target | None) -> onnx.ModelProto:
    """Rewrite a QDQ model for `target`; without one, for any runtime of ONNX.

    `model` may come from `qdq_model`, NNCF or ONNX Runtime's own quantizer; it is left
    as it is. Scales stay, except that for symmetric targets a grid with a zero point
    becomes one about 0 that holds its range. A target of another format is a
    RecipeError, a model without Q and DQ an InputRejectedError.
    """
    if target is not None and target.format != "onnx":
        raise RecipeError(
            f"export: target {target.name!r} reads {target.format} files; "
            "choose a target of ONNX files, or write that format"
        )
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    if not is_quantized(graph.graph):
        raise InputRejectedError(
            f"export: {model.graph.name or 'the model'} has no quantized tensor; "
            "quantize it first, or write it as float32"
        )
    symmetric = target is not None and target.rounds_reads
    normal_(graph, whole_biases=not symmetric)
    for rewrite in _passes(target):
        rewrite(graph.graph)
    merged_(graph)
    named_(graph.graph)
    made = ir.to_proto(graph)
    made.ir_version = IR_VERSION
    del made.graph.value_info[:]
    return made


def _passes(target: Target | None) -> tuple[Pass, ...]:
    """The rewrites of a target, in the order in which they enable each other."""
    layout = None if target is None else target.layout
    if layout is None or layout.activations == "int8":
        return _ARM
    if layout.activations == "symmetric":
        return _TENSORRT
    return (*_X86, unsigned_weights_) if layout.saturates else _X86


def int8_macs_fraction(path: Path) -> float:
    """The share of multiplications that read integers on both sides, of a file."""
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.load(path)))
    whole = every = 0
    for node in nodes_of(model.graph, *WEIGHTED):
        count = macs(node)
        every += count
        if all(dequantizer(given(node, place)) is not None for place in (0, 1)):
            whole += count
    return whole / every if every else 0.0


def float_left(path: Path) -> tuple[str, ...]:
    """Layers that ONNX Runtime's optimized graph of a file computes in float."""
    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        _optimize(path, optimized)
        graph = onnx.load(optimized).graph
    kinds = {*WEIGHTED, "FusedConv", "FusedGemm", "FusedMatMul"}
    return tuple(node.name for node in graph.node if node.op_type in kinds)


def _optimize(path: Path, optimized: Path) -> None:
    """Let ONNX Runtime write the graph that it would run here."""
    onnxruntime = imported(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = str(optimized)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
