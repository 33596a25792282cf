"""Parts of a quantised graph between natural cuts, and such parts put back in float."""

from collections.abc import Set as AbstractSet

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from export.lowering.graph import (
    DEQUANTIZE,
    QUANTIZE,
    WEIGHTED,
    attribute,
    constant,
    grid_of,
    layer_of,
    needed,
    nodes_of,
    numbers,
)

_ROUNDING = frozenset({QUANTIZE, DEQUANTIZE})
_CLAMPS = frozenset({"Relu", "Clip"})


def cuts(model: onnx.ModelProto) -> list[frozenset[str]]:
    """The layers before each natural cut, the first cut's first.

    A cut is natural where one tensor leads from what lies before it to what lies after.
    A fused clamp belongs to the layer that performs it.
    """
    graph = ir.from_proto(model).graph
    nodes = [node for node in graph if node.op_type not in _ROUNDING]
    place = {node: index for index, node in enumerate(nodes)}
    last: dict[ir.Value, int] = {}
    for node in nodes:
        for value in map(_origin, node.inputs):
            if value is not None:
                last[value] = max(last.get(value, 0), place[node])
    for value in map(_origin, graph.outputs):
        if value is not None:
            last[value] = len(nodes)
    found: list[frozenset[str]] = []
    before: set[str] = set()
    for index, node in enumerate(nodes):
        before.add(layer_of(node))
        crossing = [
            value
            for value, end in last.items()
            if end > index and (_start(value, place) <= index)
        ]
        clamped = index + 1 < len(nodes) and nodes[index + 1].op_type in _CLAMPS
        weighted = any(each.op_type in WEIGHTED for each in nodes[: index + 1])
        if len(crossing) == 1 and not clamped and weighted:
            found.append(frozenset(before))
    return found


def _origin(value: ir.Value | None) -> ir.Value | None:
    """The tensor that a value is a rounding of; None for constants."""
    while value is not None:
        writer = value.producer()
        if writer is None:
            return None if value.const_value is not None else value
        if writer.op_type not in _ROUNDING:
            return value
        value = writer.inputs[0]
    return None


def _start(value: ir.Value, place: dict[ir.Node, int]) -> int:
    """Where a tensor is written; the image is there from the beginning."""
    writer = value.producer()
    return -1 if writer is None else place[writer]


def branches(model: onnx.ModelProto) -> frozenset[str]:
    """The layers of every gate that is computed from the tensor it scales."""
    graph = ir.from_proto(model).graph
    found: set[str] = set()
    for pool in nodes_of(graph, "GlobalAveragePool"):
        source = _origin(needed(pool))
        branch: set[str] = set()
        node: ir.Node | None = pool
        while node is not None and node.op_type != "Mul":
            branch.add(layer_of(node))
            users = _users(node.outputs[0])
            node = next(iter(users)) if len(users) == 1 else None
        if node is not None and any(_origin(each) is source for each in node.inputs):
            found |= branch
    return frozenset(found)


def _users(value: ir.Value) -> list[ir.Node]:
    """The operators that read a tensor, rounded or not."""
    found: dict[ir.Node, None] = {}
    todo = [value]
    while todo:
        for use in todo.pop().uses():
            if use.node.op_type in _ROUNDING:
                todo.append(use.node.outputs[0])
            else:
                found[use.node] = None
    return list(found)


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
