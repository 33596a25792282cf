"""Parts of a quantized ONNX model put back in float, and such models loaded."""

from collections.abc import Set as AbstractSet
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from export.onnx.lower import lowered
from export.onnx.lowering.graph import (
    DEQUANTIZE,
    QUANTIZE,
    attribute,
    constant,
    grid_of,
    layer_of,
    needed,
    numbers,
)
from export.placement import Opener, Writer, opened_by
from runtime.target import Target

_ROUNDING = frozenset({QUANTIZE, DEQUANTIZE})


def written(
    qdq: onnx.ModelProto, float_model: onnx.ModelProto, target: Target | None
) -> Writer:
    """What writes a quantized ONNX model with some of its layers in float to a folder.

    `qdq` is what `qdq_model` gives, not lowered yet; `float_model` computes the same in
    float.
    """

    def write(left: frozenset[str] | None, folder: Path) -> Path:
        model = float_model if left is None else lowered(floated(qdq, left), target)
        path = folder / "candidate.onnx"
        onnx.save(model, path)
        return path

    return write


def opener(
    qdq: onnx.ModelProto, float_model: onnx.ModelProto, target: Target | None
) -> Opener:
    """What loads such a model here, one thread; see `written`."""
    return opened_by(written(qdq, float_model, target))


def floated(model: onnx.ModelProto, layers: AbstractSet[str]) -> onnx.ModelProto:
    """A copy in which `layers` compute in float; weights keep their rounded values.

    What an INT8 operator gives stays rounded for everyone; what a float one gives is
    rounded only for the INT8 operators that read it.
    """
    copied = ir.from_proto(model)
    graph = copied.graph
    for node in [each for each in graph if each.op_type not in _ROUNDING]:
        if layer_of(node) not in layers:
            continue
        for place, value in enumerate(node.inputs):
            new = _unrounded(graph, value, layers)
            if new is not value:
                node.replace_input_with(place, new)
    RemoveUnusedNodesPass()(copied)
    made: onnx.ModelProto = ir.to_proto(copied)
    return made


def _unrounded(
    graph: ir.Graph, value: ir.Value | None, layers: AbstractSet[str]
) -> ir.Value | None:
    """What a float operator reads instead of a DQ's result."""
    reader = None if value is None else value.producer()
    if reader is None or reader.op_type != DEQUANTIZE:
        return value
    codes = needed(reader)
    stored = numbers(codes)
    if stored is not None:
        grid, axis = grid_of(reader), int(attribute(reader, "axis", 1))
        shape = [-1 if place == axis else 1 for place in range(stored.ndim)]
        shaped = shape if grid.scale.shape else ()
        steps = stored.astype(np.float64) - grid.zero.reshape(shaped)
        real = steps * grid.scale.reshape(shaped)
        return constant(graph, real.astype(np.float32))
    quantizer = codes.producer()
    if quantizer is None or quantizer.op_type != QUANTIZE:
        return value
    source = needed(quantizer)
    writer = source.producer()
    is_float = writer is None or layer_of(writer) in layers
    return source if is_float else value
