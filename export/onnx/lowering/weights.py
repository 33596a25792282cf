"""Grids that a device asks for: unsigned or signed tensors, unsigned weights."""

from typing import Final

import numpy as np
import onnx_ir as ir

from export.onnx.lowering.graph import (
    DEQUANTIZE,
    QUANTIZE,
    Grid,
    Numbers,
    attribute,
    constant,
    dequantize,
    dequantizer,
    grid_of,
    known,
    layer_of,
    needed,
    nodes_of,
    numbers,
    pairs,
    regrid,
)

_SHIFT: Final = 128
# 255 times a pair of weights must stay within int16: 255 * 128 = 32640.
_PAIR_HIGH: Final = 128


def unsigned_(graph: ir.Graph) -> None:
    """Store activations as uint8: code and zero point move by 128, numbers stay."""
    for node in activations(graph):
        grid = grid_of(node)
        if grid.zero.dtype == np.int8:
            zero = (grid.zero.astype(np.int32) + _SHIFT).astype(np.uint8)
            regrid(node, Grid(grid.scale, zero))


def signed_(graph: ir.Graph) -> None:
    """Store activations as int8, as ARM's kernels want them."""
    for node in activations(graph):
        grid = grid_of(node)
        if grid.zero.dtype == np.uint8:
            zero = (grid.zero.astype(np.int32) - _SHIFT).astype(np.int8)
            regrid(node, Grid(grid.scale, zero))


def activations(graph: ir.Graph) -> list[ir.Node]:
    """Every Q and DQ of a tensor that is computed."""
    return [
        node
        for node in nodes_of(graph, QUANTIZE, DEQUANTIZE)
        if node.op_type == QUANTIZE or numbers(needed(node)) is None
    ]


def unsigned_weights_(graph: ir.Graph) -> None:
    """Store weights as uint8 about 128 where two neighbors could overflow 16 bits.

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
    """Whether some pair of neighboring inputs could overflow."""
    rows = np.moveaxis(codes, axis, 0).astype(np.int32)
    if rows.ndim > 2:  # noqa: PLR2004  # kernels read channels innermost
        if rows.shape[1] == 1:
            return False
        rows = np.moveaxis(rows, 1, -1)
    flat = rows.reshape(len(rows), -1)
    # Neighbors in either phase: where a kernel's blocks begin is its own affair.
    sums = flat[:, :-1] + flat[:, 1:]
    return bool(np.abs(sums).max(initial=0) > _PAIR_HIGH)
