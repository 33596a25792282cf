"""A file for TensorRT spelled so that ONNX Runtime sums its integers exactly.

TensorRT adds int8 products in int32 and goes on in float. ONNX Runtime has no such
kernels: it would multiply rounded floats, and a sum in another order now and then lies
on the other side of a tie, which 50 layers on is another answer in a hundred. Here
each weighted operator convolves the codes themselves, as float numbers that hold every
sum up to 2^24; then the sums are scaled. Nothing else of the file is touched.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnx_ir as ir

from export.half import in_float
from export.lowering.graph import (
    Grid,
    Numbers,
    attribute,
    constant,
    dequantizer,
    describe_,
    given,
    grid_of,
    insert,
    layer_of,
    needed,
    nodes_of,
    numbers,
    redirect,
)
from export.lowering.normal import merged_
from runtime.artifact import Artifact
from runtime.files import sha256_of

_FLOAT: Final = {"to": ir.DataType.FLOAT}
_INT32: Final = {"to": ir.DataType.INT32}


def spelled(artifact: Artifact, folder: Path) -> Artifact:
    """Write what a file for TensorRT means, as ONNX Runtime computes it, into `folder`.

    The file has the other one's name, and is laid out for no target. `artifact` is left
    as it is.
    """
    path = folder / artifact.path.name
    onnx.save(exact(in_float(onnx.load(artifact.path))), path)
    return replace(
        artifact,
        path=path,
        target=None,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
    )


def exact(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a QDQ model with int8 codes about 0 whose sums are exact."""
    made = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    graph = made.graph
    for node in nodes_of(graph, "Conv", "Gemm", "MatMul"):
        _sum_codes_(graph, node)
        _sum_in_order_(graph, node)
    for node in nodes_of(graph, "GlobalAveragePool"):
        _average_codes_(graph, node)
    for node in nodes_of(graph, "HardSigmoid"):
        _spell_gate_(graph, node)
    merged_(made)
    _named_apart_(graph)
    return ir.to_proto(made)


def _named_apart_(graph: ir.Graph) -> None:
    """Give new nodes names of their own; those of Q and DQ are looked up by some."""
    taken: set[str | None] = set()
    for place, node in enumerate(graph):
        if node.name in taken:
            node.name = f"{node.name}_exact_{place}"
        taken.add(node.name)


def _codes(node: ir.Node, place: int) -> tuple[ir.Value, Grid] | None:
    """The int8 codes that an operator reads about 0, and their grid."""
    reader = dequantizer(given(node, place))
    if reader is None:
        return None
    grid = grid_of(reader)
    return None if np.any(grid.zero) else (needed(reader), grid)


def _sum_codes_(graph: ir.Graph, node: ir.Node) -> None:
    """Let a weighted operator sum codes, and scale what it sums."""
    source, weight = _codes(node, 0), _codes(node, 1)
    bias = numbers(given(node, 2))
    if (
        source is None
        or weight is None
        or (given(node, 2) is not None and bias is None)
    ):
        return
    stored = numbers(weight[0])
    if stored is None or attribute(node, "transA", 0):
        return
    layer = layer_of(node)
    codes = insert(node, "Cast", (source[0],), layer=layer, attributes=_FLOAT)
    whole = constant(graph, stored.astype(np.float32))
    attributes = {name: each.value for name, each in node.attributes.items()}
    sums = insert(
        node, node.op_type, (codes, whole), layer=layer, attributes=attributes
    )
    sums = _whole(node, sums)
    factors = (weight[1].scale * source[1].scale).astype(np.float32)
    real = _by_output(graph, node, "Mul", sums, factors)
    if bias is not None:
        real = _by_output(graph, node, "Add", real, bias)
    describe_(real, node.outputs[0])
    redirect(node.outputs[0], real)
    _answer_(graph, node.outputs[0], real)


def _sum_in_order_(graph: ir.Graph, node: ir.Node) -> None:
    """Let a float depthwise convolution add its taps one after the other."""
    weight, sides = numbers(given(node, 1)), _sides(node.outputs[0].shape)
    ends = attribute(node, "pads", [0, 0, 0, 0])
    if node.op_type != "Conv" or weight is None or sides is None:
        return
    if weight.shape[1] != 1 or attribute(node, "group", 1) != len(weight):
        return
    layer, total = layer_of(node), None
    pads = constant(graph, np.array([0, 0, *ends[:2], 0, 0, *ends[2:]], np.int64))
    padded = insert(node, "Pad", (needed(node), pads), layer=layer)
    steps = np.array(attribute(node, "strides", [1, 1]), np.int64)
    apart = np.array(attribute(node, "dilations", [1, 1]), np.int64)
    extent = steps * (sides - 1) + 1
    for place in np.ndindex(*weight.shape[2:]):
        first = apart * np.array(place, np.int64)
        slices = (first, first + extent, np.array([2, 3], np.int64), steps)
        parts = [constant(graph, each) for each in slices]
        patch = insert(node, "Slice", (padded, *parts), layer=layer)
        taps = weight[:, 0, place[0], place[1]]
        part = _by_output(graph, node, "Mul", patch, taps)
        total = (
            part if total is None else insert(node, "Add", (total, part), layer=layer)
        )
    bias = numbers(given(node, 2))
    if total is not None:
        real = total if bias is None else _by_output(graph, node, "Add", total, bias)
        redirect(node.outputs[0], real)


def _whole(node: ir.Node, sums: ir.Value) -> ir.Value:
    """Whole numbers through int32 and back.

    So that no optimizer folds what follows into the weights.
    """
    for kind in (_INT32, _FLOAT):
        sums = insert(node, "Cast", (sums,), layer=layer_of(node), attributes=kind)
    return sums


def _sides(shape: ir.Shape | None) -> Numbers | None:
    """The height and width of a map [n, c, h, w]; None of anything else."""
    sides = () if shape is None else tuple(shape)[2:]
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):  # noqa: PLR2004  # of images
        return None
    return np.array([int(side) for side in sides if isinstance(side, int)], np.int64)


def _by_output(
    graph: ir.Graph, node: ir.Node, operator: str, left: ir.Value, right: Numbers
) -> ir.Value:
    """Combine results with numbers, one for each output or one for all."""
    shape = (1, -1, 1, 1) if node.op_type == "Conv" else (-1,)
    column = constant(graph, np.asarray(right, np.float32).reshape(shape))
    return insert(node, operator, (left, column), layer=layer_of(node))


def _average_codes_(graph: ir.Graph, node: ir.Node) -> None:
    """Average the codes of a map [n, c, h, w]: a sum, which is exact, and a factor."""
    source = _codes(node, 0)
    shape = needed(node).shape
    if source is None or (sides := _sides(shape)) is None:
        return
    layer = layer_of(node)
    count = int(np.prod(sides))
    codes = insert(node, "Cast", (source[0],), layer=layer, attributes=_FLOAT)
    axes = constant(graph, np.array([2, 3], np.int64))
    sums = _whole(node, insert(node, "ReduceSum", (codes, axes), layer=layer))
    factor = np.array(float(source[1].scale) / count, np.float32)
    real = insert(node, "Mul", (sums, constant(graph, factor)), layer=layer)
    redirect(node.outputs[0], real)
    _answer_(graph, node.outputs[0], real)


def _spell_gate_(graph: ir.Graph, node: ir.Node) -> None:
    """Write a hard-sigmoid as a product, a sum and a clamp, rounded one by one."""
    layer = layer_of(node)
    alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
    value = needed(node)
    for operator, number in (("Mul", alpha), ("Add", beta)):
        right = constant(graph, np.array(number, np.float32))
        value = insert(node, operator, (value, right), layer=layer)
    ends = [constant(graph, np.array(end, np.float32)) for end in (0, 1)]
    value = insert(node, "Clip", (value, *ends), layer=layer)
    redirect(node.outputs[0], value)
    _answer_(graph, node.outputs[0], value)


def _answer_(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """Let the graph give `new` where it gave `old`, by the same name."""
    for place, value in enumerate(graph.outputs):
        if value is old:
            name = old.name
            old.name, new.name = f"{name}_before", name
            describe_(new, old)
            graph.outputs[place] = new
