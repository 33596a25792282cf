"""Names that say what a node, tensor or weight belongs to, whatever passes did."""

from collections import Counter
from typing import Final

import onnx_ir as ir

from export.onnx.lowering.graph import (
    DEQUANTIZE,
    QUANTIZE,
    layer_of,
    needed,
    numbers,
)

_PARTS: Final = {0: "", 1: "weight", 2: "bias"}


def named_(graph: ir.Graph) -> None:
    """Call nodes LAYER/OPERATOR, their results after them, and weights LAYER.weight."""
    kept = {value.name for value in (*graph.inputs, *graph.outputs)}
    taken: Counter[str] = Counter()
    layers = {node: _layer(node) for node in graph}
    for node in graph:
        stem = f"{layers[node]}/{node.op_type}" if layers[node] else node.op_type
        taken[stem] += 1
        node.name = stem if taken[stem] == 1 else f"{stem}_{taken[stem]}"
        for place, value in enumerate(node.outputs):
            if value.name not in kept:
                value.name = node.name if place == 0 else f"{node.name}:{place}"
    _name_constants_(graph)


def _layer(node: ir.Node) -> str:
    """A node's layer; rounding belongs to the layer that wrote the tensor."""
    if node.op_type == DEQUANTIZE and numbers(needed(node)) is not None:
        user, place = next(iter(node.outputs[0].uses()))
        part = _PARTS.get(place) or str(place)
        return f"{layer_of(user)}.{part}"
    if node.op_type not in {QUANTIZE, DEQUANTIZE}:
        return layer_of(node)
    value = needed(node)
    writer = value.producer()
    while writer is not None and writer.op_type in {QUANTIZE, DEQUANTIZE}:
        value = needed(writer)
        writer = value.producer()
    return str(value.name) if writer is None else layer_of(writer)


def _name_constants_(graph: ir.Graph) -> None:
    """Call a constant after the first node that reads it; put them in that order."""
    used: dict[str, ir.Value] = {}
    for node in graph:
        for value in node.inputs:
            if value is not None and value.is_initializer():
                used[str(value.name)] = value
    graph.initializers.clear()
    taken: set[str] = set()
    for value in used.values():
        node, place = next(iter(value.uses()))
        whole = node.op_type == DEQUANTIZE and place == 0
        stem = layer_of(node) if whole else f"{node.name}.{place}"
        name, count = stem, 1
        while name in taken:
            count += 1
            name = f"{stem}_{count}"
        taken.add(name)
        value.name = name
        graph.initializers.add(value)
