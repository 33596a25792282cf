"""One spelling of a QDQ graph, whoever wrote it: ours, NNCF's, ONNX Runtime's."""

import math

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    DeduplicateInitializersPass,
    IdentityEliminationPass,
    LiftConstantsToInitializersPass,
    RemoveUnusedNodesPass,
)

from export.onnx.lowering.graph import (
    DEQUANTIZE,
    QUANTIZE,
    Grid,
    Numbers,
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
    pairs,
    redirect,
    regrid,
)

# Half of int32, as for biases that we rounded ourselves: the sums need the rest.
_BIAS_HIGH = 1 << 30
# And as many steps as float32 counts, with room for the sums.
_BIAS_WANTED = 1 << 23
_MAP_AXES = ([2, 3], [-2, -1], [-1, -2], [3, 2])
# Steps of a gate that nobody gave a grid: 1/2 is one of them.
_GATE_STEPS = 254


def normal_(model: ir.Model, *, whole_biases: bool = True) -> None:
    """Bring `model` to one spelling, in place.

    Afterwards weights are int8 initializers behind a DQ of their own, biases int32
    ones if they are to be whole steps, grids of tensors have no axes, a tensor is
    quantized once, and a mean over a map is a GlobalAveragePool.
    """
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    IdentityEliminationPass()(model)
    graph = model.graph
    _plain_grids_(graph)
    _stored_weights_(graph)
    merged_(model)
    _no_second_rounding_(graph)
    means_are_pools_(graph)
    _swishes_are_products_(graph)
    _gates_into_convolutions_(graph)
    if whole_biases:
        _whole_biases_(graph)
    merged_(model)


def merged_(model: ir.Model) -> None:
    """Merge equal constants and equal nodes; drop what nothing reads."""
    RemoveUnusedNodesPass()(model)
    DeduplicateInitializersPass(size_limit=1 << 31)(model)
    CommonSubexpressionEliminationPass()(model)
    RemoveUnusedNodesPass()(model)


def _plain_grids_(graph: ir.Graph) -> None:
    """Spell the grid of every Q and DQ alike, so that equal ones can be merged."""
    for node in nodes_of(graph, QUANTIZE, DEQUANTIZE):
        grid = grid_of(node)
        regrid(node, grid)
        if grid.scale.shape == ():
            node.attributes.pop("axis", None)


def _stored_weights_(graph: ir.Graph) -> None:
    """Store what a Q makes of a constant, instead of the constant."""
    for node in nodes_of(graph, QUANTIZE):
        values = numbers(needed(node))
        if values is None:
            continue
        grid, axis = grid_of(node), attribute(node, "axis", 1)
        shape = [1] * values.ndim
        if grid.scale.shape:
            shape[axis] = -1
        scale, zero = grid.scale.reshape(shape), grid.zero.reshape(shape)
        steps = np.rint(values.astype(np.float32) / scale) + zero.astype(np.int32)
        codes = np.clip(steps, *grid.limits).astype(grid.zero.dtype)
        redirect(node.outputs[0], constant(graph, codes))


def _no_second_rounding_(graph: ir.Graph) -> None:
    """Read the codes themselves where a DQ is followed by a Q of the same grid."""
    for node in nodes_of(graph, QUANTIZE):
        reader = dequantizer(needed(node))
        if reader is not None and grid_of(reader).same_as(grid_of(node)):
            redirect(node.outputs[0], needed(reader))


def means_are_pools_(graph: ir.Graph) -> None:
    """Write the mean over a map as GlobalAveragePool, which has integer kernels."""
    for node in nodes_of(graph, "ReduceMean"):
        axes = numbers(given(node, 1))
        found = attribute(node, "axes", None) if axes is None else axes.tolist()
        shape = needed(node).shape
        if found is None or list(found) not in _MAP_AXES:
            continue
        if shape is None or len(shape) != 4:  # noqa: PLR2004  # images
            continue
        layer = layer_of(node)
        pooled = insert(node, "GlobalAveragePool", (needed(node),), layer=layer)
        if not attribute(node, "keepdims", 1):
            flat = insert(
                node, "Flatten", (pooled,), layer=layer, attributes={"axis": 1}
            )
            pooled = flat
        describe_(pooled, node.outputs[0])
        redirect(node.outputs[0], pooled)


def _swishes_are_products_(graph: ir.Graph) -> None:
    """Write x * gate(x) for a HardSwish between DQ and Q, with a grid for its gate."""
    for node in nodes_of(graph, "HardSwish"):
        reader = dequantizer(needed(node))
        if reader is None or only_reader(node.outputs[0], QUANTIZE) is None:
            continue
        layer, zero = layer_of(node), grid_of(reader).zero
        low = np.iinfo(zero.dtype).min
        gate = insert(
            node,
            "HardSigmoid",
            (needed(node),),
            layer=layer,
            attributes={"alpha": 1 / 6, "beta": 0.5},
        )
        grid = Grid(np.array(1 / _GATE_STEPS, np.float32), np.array(low, zero.dtype))
        parts = (constant(graph, grid.scale), constant(graph, grid.zero))
        codes = insert(node, QUANTIZE, (gate, *parts), layer=layer)
        real = dequantize(node, codes, grid, layer=layer)
        product = insert(node, "Mul", (needed(node), real), layer=layer)
        describe_(product, node.outputs[0])
        redirect(node.outputs[0], product)


def _gates_into_convolutions_(graph: ir.Graph) -> None:
    """Make a hard-sigmoid after a convolution a clamp: x/6 + 1/2 goes in."""
    for node, weight in list(pairs(graph)):
        gate = only_reader(node.outputs[0], "HardSigmoid")
        source = dequantizer(needed(node))
        if node.op_type != "Conv" or gate is None or source is None:
            continue
        alpha, beta = attribute(gate, "alpha", 0.2), attribute(gate, "beta", 0.5)
        grid = grid_of(weight)
        scale = (grid.scale * np.float32(alpha)).astype(np.float32)
        outputs = known(needed(weight)).shape[0]
        bias = _bias_of(node, outputs) * alpha + beta
        new = dequantize(
            node, needed(weight), Grid(scale, grid.zero), layer=layer_of(node)
        )
        inputs = (needed(node), new, constant(graph, bias.astype(np.float32)))
        node.resize_inputs(len(inputs))
        for place, value in enumerate(inputs):
            node.replace_input_with(place, value)
        limits = [constant(graph, np.array(end, np.float32)) for end in (0, 1)]
        clamp = insert(gate, "Clip", (node.outputs[0], *limits), layer=layer_of(gate))
        redirect(gate.outputs[0], clamp)


def _bias_of(node: ir.Node, outputs: int) -> Numbers:
    """The bias that a weighted node adds, as real numbers."""
    value = given(node, 2)
    if value is None:
        return np.zeros(outputs)
    reader = dequantizer(value)
    if reader is None:
        return known(value).astype(np.float64)
    grid, codes = grid_of(reader), known(needed(reader))
    return codes.astype(np.float64) * grid.scale.astype(np.float64)


def _whole_biases_(graph: ir.Graph) -> None:
    """Round float biases of INT8 layers to int32 steps of input x weight scale."""
    for node, weight in list(pairs(graph)):
        source = dequantizer(needed(node))
        bias = numbers(given(node, 2))
        if source is None or bias is None or node.op_type == "MatMul":
            continue
        grid = _roomy_(node, weight, grid_of(source), bias)
        steps = grid_of(source).scale * grid.scale
        scale = np.broadcast_to(steps, bias.shape).astype(np.float32)
        whole = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
        codes = np.clip(whole, -_BIAS_HIGH, _BIAS_HIGH).astype(np.int32)
        zeros = np.zeros(scale.shape, np.int32)
        real = dequantize(
            node, constant(graph, codes), Grid(scale, zeros), layer=layer_of(node)
        )
        node.replace_input_with(2, real)


def _roomy_(node: ir.Node, weight: ir.Node, source: Grid, bias: Numbers) -> Grid:
    """The grid of a layer's weight, coarser where the bias takes too many steps.

    As `roomy_scales` of compress/int8 has it: next to such a bias the weights of that
    output are nothing.
    """
    grid, codes = grid_of(weight), known(needed(weight))
    least = np.abs(bias) / (source.scale * _BIAS_WANTED)
    least = least if grid.scale.shape else least.max(initial=0)
    if (grid.scale >= least).all() or np.any(grid.zero):
        return grid
    scale = np.maximum(grid.scale, least).astype(np.float32)
    axis = int(attribute(weight, "axis", 1)) if grid.scale.shape else 0
    shape = [-1 if place == axis else 1 for place in range(codes.ndim)]
    shape = shape if grid.scale.shape else []
    finer = (grid.scale.astype(np.float64) / scale).reshape(shape)
    moved = Grid(scale, grid.zero)
    rounded = np.rint(codes * finer).astype(codes.dtype)
    stored = constant(graph_of(node), rounded)
    real = dequantize(node, stored, moved, layer=layer_of(node))
    producer = real.producer()
    if producer is not None and grid.scale.shape:
        producer.attributes["axis"] = ir.AttrInt64("axis", axis)
    node.replace_input_with(1, real)
    return moved


def is_quantized(graph: ir.Graph) -> bool:
    """Whether anything in the graph is put on a grid."""
    return any(node.op_type == QUANTIZE for node in graph)


def macs(node: ir.Node) -> int:
    """Multiplications of one image in a Conv, Gemm or MatMul of known shapes."""
    shape = node.outputs[0].shape
    weight = needed(node, 1)
    if shape is None or weight.shape is None:
        return 0
    positions = math.prod(size for size in shape[1:] if isinstance(size, int))
    inner = [size if isinstance(size, int) else 1 for size in weight.shape]
    if node.op_type == "Conv":
        return positions * math.prod(inner[1:])
    axis = -1 if attribute(node, "transB", 0) else -2
    return positions * inner[axis] * _rows_of_one_image(node)


def _rows_of_one_image(node: ir.Node) -> int:
    """How many rows of a Gemm are the tokens of one image."""
    reader = dequantizer(needed(node))
    source = (needed(node) if reader is None else needed(reader)).producer()
    if node.op_type != "Gemm" or source is None or source.op_type != "Reshape":
        return 1
    tokens, rows = needed(source).shape, source.outputs[0].shape
    if tokens is None or rows is None or tokens[-1] != rows[-1]:
        return 1  # features, flattened
    return math.prod(size for size in tokens[1:-1] if isinstance(size, int))
