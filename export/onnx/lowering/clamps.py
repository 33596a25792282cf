"""Clamps and gates as integer arithmetic: what saturates costs nothing, or a Clip."""

from typing import Final

import numpy as np
import onnx_ir as ir

from export.onnx.lowering.graph import (
    QUANTIZE,
    QParams,
    attribute,
    constant,
    dequantizer,
    describe_,
    given,
    graph_of,
    grid_of,
    insert,
    layer_of,
    needed,
    nodes_of,
    numbers,
    only_reader,
    redirect,
)

# Operators that an integer kernel ends with the rounding of their sums.
_ROUNDED: Final = frozenset({"Conv", "Gemm", "MatMul", "Add", "Mul", "Concat"})
_SIXTH: Final = 1e-6
# How far a table's scale is moved, in parts of itself, to settle numbers in the middle.
_NUDGES: Final = tuple(
    sign * size for size in (0.0, 1e-7, 1e-6, 1e-5, 1e-4) for sign in (1, -1)
)


def clamps_saturate_(graph: ir.Graph) -> None:
    """Let the Q after a Relu or Clip do its work; clip codes where it cannot.

    A grid that ends where the clamp does saturates by itself. Elsewhere, as where a sum
    shares its grid with negative numbers, the codes are clipped, which is the same.
    """
    for node in nodes_of(graph, "Relu", "Clip"):
        quantizer = only_reader(node.outputs[0], QUANTIZE)
        bounds = _bounds(node)
        if quantizer is None or bounds is None:
            continue
        grid = grid_of(quantizer)
        limits = _codes(bounds, grid)
        source = needed(node)
        reader = dequantizer(source)
        if reader is not None:
            codes = _moved(quantizer, needed(reader), grid_of(reader), grid)
            new = _clipped(quantizer, codes, grid, limits)
            redirect(quantizer.outputs[0], new)
            continue
        writer = source.producer()
        if writer is None or writer.op_type not in _ROUNDED or len(source.uses()) > 1:
            continue
        quantizer.replace_input_with(0, source)
        if limits != grid.limits:
            users = list(quantizer.outputs[0].uses())
            after = next(iter(users)).node
            first = _first(graph, [use.node for use in users]) or after
            new = _clipped(first, quantizer.outputs[0], grid, limits)
            for use in users:
                use.node.replace_input_with(use.idx, new)


def _first(graph: ir.Graph, nodes: list[ir.Node]) -> ir.Node | None:
    """The node that comes first in the graph."""
    wanted = set(nodes)
    return next((node for node in graph if node in wanted), None)


def _bounds(node: ir.Node) -> tuple[float, float] | None:
    """The least and greatest real number that a clamp lets through."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    found = []
    for place, missing in ((1, float("-inf")), (2, float("inf"))):
        value = given(node, place)
        end = numbers(value)
        if value is not None and end is None:
            return None
        found.append(missing if end is None else float(end))
    return found[0], found[1]


def _codes(bounds: tuple[float, float], grid: QParams) -> tuple[int, int]:
    """The codes of a clamp's bounds, as far as they lie within the grid."""
    low, high = grid.limits
    scale, zero = float(grid.scale), int(grid.zero)
    if bounds[0] > scale * (low - zero):
        low = max(low, round(bounds[0] / scale) + zero)
    if bounds[1] < scale * (high - zero):
        high = min(high, round(bounds[1] / scale) + zero)
    return low, high


def _moved(
    before: ir.Node, codes: ir.Value, source: QParams, target: QParams
) -> ir.Value:
    """Codes of one grid as codes of another: a table in a Concat of one input."""
    if source.same_as(target):
        return codes
    graph, layer = graph_of(before), layer_of(before)
    real = insert(
        before,
        "DequantizeLinear",
        (codes, constant(graph, source.scale), constant(graph, source.zero)),
        layer=layer,
    )
    same = insert(before, "Concat", (real,), layer=layer, attributes={"axis": 1})
    parts = (constant(graph, target.scale), constant(graph, target.zero))
    made = insert(before, QUANTIZE, (same, *parts), layer=layer)
    describe_(made, codes)
    return made


def _clipped(
    before: ir.Node, codes: ir.Value, grid: QParams, limits: tuple[int, int]
) -> ir.Value:
    """Codes within limits; the same value where these are all codes."""
    if limits == grid.limits:
        return codes
    ends = [
        constant(graph_of(before), np.array(end, grid.zero.dtype))
        if end != outermost
        else None
        for end, outermost in zip(limits, grid.limits, strict=True)
    ]
    inputs = (codes, *ends) if ends[1] is not None else (codes, ends[0])
    made = insert(before, "Clip", inputs, layer=layer_of(before))
    describe_(made, codes)
    return made


def gates_are_clips_(graph: ir.Graph) -> None:
    """Compute the gate of a hard-swish on codes.

    On a grid of scale 3/k that has -3 on its first code, the gate of code q is
    min(q, 2k) / (2k): a Clip, and another reading of the same codes. On other grids it
    is a table, namely a Concat of one input between two grids, and a Clip.
    """
    for node in nodes_of(graph, "HardSigmoid"):
        reader = dequantizer(needed(node))
        quantizer = only_reader(node.outputs[0], QUANTIZE)
        alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
        if reader is None or quantizer is None or abs(alpha - 1 / 6) > _SIXTH:
            continue
        if beta != 0.5:  # noqa: PLR2004  # the only hard-sigmoid networks have
            continue
        source, target = grid_of(reader), grid_of(quantizer)
        gate = np.clip(source.reals() + np.float32(3), 0, 6) / np.float32(6)
        table = target.code_of(gate)
        top = int(table.max())
        limits = (target.limits[0], top)
        codes = needed(reader)
        if not np.array_equal(table, np.minimum(source.codes(), top)):
            codes = _moved(quantizer, codes, source, _table_grid(source, target, table))
        redirect(quantizer.outputs[0], _clipped(quantizer, codes, target, limits))


def _table_grid(source: QParams, target: QParams, table: np.ndarray) -> QParams:
    """The grid whose rounding of `source` comes nearest to `table`."""
    scale = float(target.scale) * 6
    half = int(target.code_of(np.array(0.5, np.float32)))
    top = int(table.max())

    def wrong(grid: QParams) -> int:
        made = np.minimum(grid.code_of(source.reals()), top)
        return int((made != table).sum())

    zero = np.array(half, target.zero.dtype)
    tried = (
        QParams(np.array(scale * (1 + nudge), np.float32), zero) for nudge in _NUDGES
    )
    return min(tried, key=wrong)
