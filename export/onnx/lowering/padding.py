"""Padding as part of the convolution that reads it."""

import numpy as np
import onnx_ir as ir

from export.onnx.lowering.graph import (
    QUANTIZE,
    attribute,
    dequantizer,
    given,
    grid_of,
    needed,
    nodes_of,
    numbers,
    readers,
)


def pads_join_convolutions_(graph: ir.Graph) -> None:
    """Let a convolution pad for itself where a Pad of zeros does it before.

    In INT8 a zero is a code of every grid, so that both are the same to the bit.
    """
    for node in nodes_of(graph, "Pad"):
        ends = _spatial(node)
        source = needed(node)
        if ends is None:
            continue
        found = _convolutions(node)
        if found is None:
            continue
        for convolution, place in found:
            old = attribute(convolution, "pads", [0] * len(ends))
            sums = [a + b for a, b in zip(old, ends, strict=True)]
            convolution.attributes["pads"] = ir.AttrInt64s("pads", sums)
            convolution.attributes.pop("auto_pad", None)
            convolution.replace_input_with(place, source)


def _spatial(node: ir.Node) -> list[int] | None:
    """What a Pad of zeros adds to each side of a map; None if it does more."""
    pads, value = numbers(given(node, 1)), numbers(given(node, 2))
    if attribute(node, "mode", "constant") != "constant" or given(node, 3) is not None:
        return None
    if pads is None or (given(node, 2) is not None and value is None):
        return None
    zero = value is None or not np.any(value)
    half = len(pads) // 2
    before, after = pads[:half].tolist(), pads[half:].tolist()
    beyond = any((*before[:2], *after[:2])) or min((*before, *after)) < 0
    return None if beyond or not zero else [*before[2:], *after[2:]]


def _convolutions(node: ir.Node) -> list[tuple[ir.Node, int]] | None:
    """The convolutions that read a Pad, perhaps through Q and DQ; None if others do."""
    value = node.outputs[0]
    found: list[tuple[ir.Node, int]] = []
    reader = dequantizer(needed(node))
    for user in readers(value):
        if _pads(user) and user.inputs[0] is value:
            found.append((user, 0))
        elif user.op_type == QUANTIZE and reader is not None:
            if not grid_of(user).same_as(grid_of(reader)):
                return None
            for again in readers(user.outputs[0]):
                users = readers(again.outputs[0]) if again.outputs else []
                if again.op_type != "DequantizeLinear" or not all(map(_pads, users)):
                    return None
                found += [(each, 0) for each in users]
        else:
            return None
    return None if value.is_graph_output() else found


def _pads(node: ir.Node) -> bool:
    """Whether a node is a convolution whose padding is spelled out."""
    automatic = attribute(node, "auto_pad", "NOTSET")
    return node.op_type == "Conv" and automatic in {"NOTSET", ""}
