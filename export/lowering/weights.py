"""Grids that a device asks for: unsigned or symmetric tensors, unsigned weights."""

from typing import Final

import numpy as np
import onnx_ir as ir

from export.lowering.graph import (
    DEQUANTIZE,
    QUANTIZE,
    Grid,
    Numbers,
    attribute,
    constant,
    dequantize,
    dequantizer,
    given,
    grid_of,
    insert,
    known,
    layer_of,
    needed,
    nodes_of,
    numbers,
    pairs,
    redirect,
    regrid,
)

_SHIFT: Final = 128
# 255 times a pair of weights must stay within int16: 255 * 128 = 32640.
_PAIR_HIGH: Final = 128
# Operators that TensorRT runs in INT8; the others it fuses in float.
_TENSORRT: Final = frozenset({"Conv", "Gemm", "MatMul", "Add"})


def unsigned_(graph: ir.Graph) -> None:
    """Store activations as uint8: code and zero point move by 128, numbers stay."""
    for node in _activations(graph):
        grid = grid_of(node)
        if grid.zero.dtype == np.int8:
            zero = (grid.zero.astype(np.int32) + _SHIFT).astype(np.uint8)
            regrid(node, Grid(grid.scale, zero))


def signed_(graph: ir.Graph) -> None:
    """Store activations as int8, as ARM's kernels want them."""
    for node in _activations(graph):
        grid = grid_of(node)
        if grid.zero.dtype == np.uint8:
            zero = (grid.zero.astype(np.int32) - _SHIFT).astype(np.int8)
            regrid(node, Grid(grid.scale, zero))


def _activations(graph: ir.Graph) -> list[ir.Node]:
    """Every Q and DQ of a tensor that is computed."""
    return [
        node
        for node in nodes_of(graph, QUANTIZE, DEQUANTIZE)
        if node.op_type == QUANTIZE or numbers(needed(node)) is None
    ]


def unsigned_weights_(graph: ir.Graph) -> None:
    """Store weights as uint8 about 128 where two neighbours could overflow 16 bits.

    Without VNNI, x86 multiplies uint8 codes by pairs of int8 weights and adds the two
    products within 16 bits, saturated; by uint8 weights it does so within 32. Numbers
    and sums stay what they are. Depthwise kernels do not add pairs.
    """
    for node, reader in list(pairs(graph)):
        codes, grid = known(needed(reader)), grid_of(reader)
        if dequantizer(needed(node)) is None or codes.dtype != np.int8:
            continue
        axis = int(attribute(reader, "axis", 1)) if grid.scale.shape else 0
        if not _overflows(codes, axis=axis):
            continue
        stored = constant(graph, (codes.astype(np.int32) + _SHIFT).astype(np.uint8))
        zero = (grid.zero.astype(np.int32) + _SHIFT).astype(np.uint8)
        real = dequantize(node, stored, Grid(grid.scale, zero), layer=layer_of(node))
        producer = real.producer()
        if producer is not None and grid.scale.shape:
            producer.attributes["axis"] = ir.AttrInt64("axis", axis)
        node.replace_input_with(1, real)


def _overflows(codes: Numbers, *, axis: int) -> bool:
    """Whether some pair of neighbouring inputs could overflow."""
    rows = np.moveaxis(codes, axis, 0).astype(np.int32)
    if rows.ndim > 2:  # noqa: PLR2004  # kernels read channels innermost
        if rows.shape[1] == 1:
            return False
        rows = np.moveaxis(rows, 1, -1)
    flat = rows.reshape(len(rows), -1)
    # Neighbours in either phase: where a kernel's blocks begin is its own affair.
    sums = flat[:, :-1] + flat[:, 1:]
    return bool(np.abs(sums).max(initial=0) > _PAIR_HIGH)


def symmetric_(graph: ir.Graph) -> None:
    """Spell the graph as TensorRT reads it: no zero points, float weights and biases.

    A tensor keeps its range, so one that is never negative loses a bit. Weights are
    float numbers of their grid behind Q and DQ; what TensorRT fuses in float anyway,
    such as gates, reads its numbers unrounded.
    """
    for node in list(graph):
        for place in range(len(node.inputs)):
            reader = dequantizer(given(node, place))
            if reader is None or node.op_type in _TENSORRT:
                continue
            quantizer = needed(reader).producer()
            if quantizer is not None and quantizer.op_type == QUANTIZE:
                node.replace_input_with(place, needed(quantizer))
    for node in _activations(graph):
        grid = grid_of(node)
        ends = (np.array(grid.limits) - int(grid.zero)) * float(grid.scale)
        scale = np.array(np.abs(ends).max() / 127, np.float32)
        regrid(node, Grid(scale, np.array(0, np.int8)))
    for node in nodes_of(graph, DEQUANTIZE):
        codes = numbers(needed(node))
        if codes is None:
            continue
        grid, axis = grid_of(node), int(attribute(node, "axis", 0))
        shape = [-1 if place == axis else 1 for place in range(codes.ndim)]
        real = codes.astype(np.float64) * grid.scale.astype(np.float64).reshape(
            shape if grid.scale.shape else ()
        )
        stored = constant(graph, real.astype(np.float32))
        if codes.dtype == np.int32:
            redirect(node.outputs[0], stored)
            continue
        parts = (constant(graph, grid.scale), constant(graph, grid.zero))
        again = insert(
            node,
            QUANTIZE,
            (stored, *parts),
            layer=layer_of(node),
            attributes={"axis": axis} if grid.scale.shape else {},
        )
        node.replace_input_with(0, again)
