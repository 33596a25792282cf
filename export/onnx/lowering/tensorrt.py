"""A QDQ graph as TensorRT fuses it: grids about 0, read by INT8 kernels alone."""

from typing import Final

import numpy as np
import onnx_ir as ir

from export.onnx.lowering.graph import (
    DEQUANTIZE,
    QUANTIZE,
    WEIGHTED,
    QParams,
    attribute,
    constant,
    dequantizer,
    given,
    grid_of,
    needed,
    nodes_of,
    numbers,
    readers,
    redirect,
    regrid,
)
from export.onnx.lowering.weights import activations

# What only moves or selects numbers; Q and DQ change places with it.
MOVES: Final = frozenset(
    {
        *("MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze"),
        *("Slice", "Split", "Gather", "Pad", "Resize", "DepthToSpace", "SpaceToDepth"),
    }
)
# What reads a tensor in INT8; the others go on in float behind a convolution.
READS_INT8: Final = frozenset(
    {*WEIGHTED, *MOVES, "GlobalAveragePool", "AveragePool", "Concat", QUANTIZE}
)
_HIGH: Final = 127


def read_in_int8_(graph: ir.Graph) -> None:
    """Let what TensorRT fuses in float read numbers that are not rounded.

    That is every gate, clamp and product, and of a sum the operand that a convolution
    gives; its skip stays rounded (TensorRT #1992, #3270).
    """
    for node in list(graph):
        if node.op_type in READS_INT8 or node.op_type == DEQUANTIZE:
            continue
        kept = skip_of(node)
        for place in range(len(node.inputs)):
            source = quantized_from(given(node, place))
            if source is not None and place != kept:
                node.replace_input_with(place, source)


def skip_of(node: ir.Node) -> int | None:
    """The operand of an Add that a convolution adds to its sums; None: there is none.

    Of two convolutions that could perform the sum the later one does.
    """
    if node.op_type != "Add":
        return None
    able = [place for place in (0, 1) if performs(given(node, place))]
    if not able:
        return None
    if len(able) == 1:
        return 1 - able[0]
    order = {each: index for index, each in enumerate(graph_nodes(node))}
    sources = [_writer(given(node, place)) for place in able]
    return min(able, key=lambda place: order.get(sources[place], -1))  # type: ignore[arg-type]


def graph_nodes(node: ir.Node) -> list[ir.Node]:
    """Every node of the graph that holds a node, in order."""
    return list(node.graph or ())


def performs(value: ir.Value | None) -> bool:
    """Whether `value`, rounded or not, comes of INT8 sums that nothing else reads."""
    writer = _writer(value)
    if writer is None or writer.op_type not in WEIGHTED or value is None:
        return False
    if dequantizer(given(writer, 1)) is None:
        return False
    while value.producer() is not writer:
        if len(readers(value)) != 1:
            return False
        value = needed(value.producer())  # type: ignore[arg-type]
    return len(readers(value)) == 1 and not value.is_graph_output()


def _writer(value: ir.Value | None) -> ir.Node | None:
    """What computes `value`, before it is rounded."""
    source = quantized_from(value)
    source = value if source is None else source
    return None if source is None else source.producer()


def quantized_from(value: ir.Value | None) -> ir.Value | None:
    """The tensor that a DQ and its Q round; None for anything else."""
    reader = dequantizer(value)
    quantizer = None if reader is None else needed(reader).producer()
    if quantizer is None or quantizer.op_type != QUANTIZE:
        return None
    return needed(quantizer)


def symmetric_(graph: ir.Graph) -> None:
    """Put tensors on grids about 0 that hold what their own grids held.

    Ours are chosen so; a foreign one that is never negative loses a bit.
    """
    for node in activations(graph):
        grid = grid_of(node)
        if not grid.zero.any() and grid.zero.dtype == np.int8:
            continue
        ends = (np.array(grid.limits) - int(grid.zero)) * float(grid.scale)
        scale = np.array(np.abs(ends).max() / _HIGH, np.float32)
        regrid(node, QParams(scale, np.array(0, np.int8)))


def float_biases_(graph: ir.Graph) -> None:
    """Store integer biases as float numbers: TensorRT reads no int32 behind a DQ."""
    for node in nodes_of(graph, DEQUANTIZE):
        codes = numbers(needed(node))
        if codes is None or codes.dtype != np.int32:
            continue
        grid, axis = grid_of(node), int(attribute(node, "axis", 0))
        shape = [-1 if place == axis else 1 for place in range(codes.ndim)]
        scale = grid.scale.astype(np.float64).reshape(shape if grid.scale.shape else ())
        real = codes.astype(np.float64) * scale
        redirect(node.outputs[0], constant(graph, real.astype(np.float32)))
