"""Linear layers on tokens as layers on rows, for which there are integer kernels."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from export.onnx.lowering.graph import (
    QUANTIZE,
    attribute,
    constant,
    dequantize,
    dequantizer,
    describe_,
    given,
    graph_of,
    grid_of,
    insert,
    known,
    layer_of,
    needed,
    nodes_of,
    numbers,
    only_reader,
    redirect,
)


def tokens_are_rows_(graph: ir.Graph) -> None:
    """Write a MatMul of tokens [n, …, c] and an Add as a Gemm of rows [n * …, c].

    Only that has a kernel that adds an int32 bias to its sums and rounds once. What is
    reshaped, before and after, are codes, which costs nothing.
    """
    for node in nodes_of(graph, "MatMul"):
        weight, source = _turned(needed(node, 1)), dequantizer(needed(node))
        outer = _outer(needed(node))
        if weight is None or source is None or outer is None:
            continue
        last, bias = _sum(node)
        result, layer = last.outputs[0], layer_of(node)
        if result.is_graph_output():
            continue
        outputs, width = known(needed(weight)).shape
        shape = constant(graph, np.array([-1, width], np.int64))
        codes = insert(last, "Reshape", (needed(source), shape), layer=layer)
        codes.type, codes.shape = needed(source).type, ir.Shape([None, width])
        real = dequantize(last, codes, grid_of(source), layer=layer)
        inputs = (real, weight.outputs[0], *([] if bias is None else [bias]))
        rows = insert(last, "Gemm", inputs, layer=layer, attributes={"transB": 1})
        rows.type, rows.shape = result.type, ir.Shape([None, outputs])
        redirect(result, rows)
        _tokens_again_(rows, [*outer, outputs], layer=layer)


def _turned(value: ir.Value) -> ir.Node | None:
    """The DQ of an INT8 weight [outputs, inputs] that `value` is the transpose of."""
    turn = value.producer()
    if turn is None or turn.op_type != "Transpose":
        return None
    reader = dequantizer(needed(turn))
    plain = list(attribute(turn, "perm", [1, 0])) == [1, 0]
    stored = reader is not None and numbers(needed(reader)) is not None
    return reader if plain and stored else None


def _outer(value: ir.Value) -> list[int] | None:
    """All axes of tokens but the last, for a Reshape; None where they are no tokens."""
    sizes = () if value.shape is None else tuple(value.shape)[:-1]
    found = [size if isinstance(size, int) else -1 for size in sizes]
    return found if len(found) > 1 and found.count(-1) <= 1 else None


def _sum(node: ir.Node) -> tuple[ir.Node, ir.Value | None]:
    """The node that ends a linear layer, and the int32 bias that it adds, if any."""
    adder = only_reader(node.outputs[0], "Add")
    for value in () if adder is None else adder.inputs:
        reader = dequantizer(value)
        codes = None if reader is None else numbers(given(reader, 0))
        if codes is not None and codes.ndim == 1 and codes.dtype == np.int32:
            return adder or node, value
    return node, None


def _tokens_again_(rows: ir.Value, shape: Sequence[int], *, layer: str) -> None:
    """Let who reads `rows`, or the codes that become of them, read tokens instead."""
    value = rows
    clamp = only_reader(value, "Relu") or only_reader(value, "Clip")
    if clamp is not None and only_reader(clamp.outputs[0], QUANTIZE) is not None:
        value = clamp.outputs[0]
        value.shape = rows.shape
    quantizer = only_reader(value, QUANTIZE)
    if quantizer is not None:
        value = quantizer.outputs[0]
        value.shape = rows.shape
    writer, users = value.producer(), list(value.uses())
    if writer is None:
        return
    graph = graph_of(writer)
    wanted = constant(graph, np.array(shape, np.int64))
    node = ir.node("Reshape", (value, wanted), name=f"{layer}/Reshape")
    tokens = node.outputs[0]
    tokens.name = f"{value.name}_tokens"
    describe_(tokens, value)
    tokens.shape = ir.Shape([None if size < 0 else size for size in shape])
    graph.insert_after(writer, node)
    for use in users:
        use.node.replace_input_with(use.idx, tokens)
