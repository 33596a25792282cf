"""A graph on grids that are read: what TensorRT's fused kernels compute.

Sums of int8 products are exact integers; they are scaled and get their bias in float,
and what follows is float, too, until an INT8 kernel rounds what it reads.
"""

import copy
from typing import TYPE_CHECKING, Final, cast

from torch import fx

from compress.int8 import kernels
from compress.int8.capture import ATEN, add_buffer, parameter, refreshed_
from compress.int8.grids import Scheme, weight_steps
from compress.int8.operators import bias_of, is_weighted, rule_of, weight_of
from compress.int8.reads import int8_readers
from export.qparams import Grid

if TYPE_CHECKING:
    from collections.abc import Callable

# Where a kernel of the simulation keeps the name of the node it stands for.
KERNEL_OF: Final = "kernel_of"
# Stride, padding, dilation and groups of a convolution that names none of them.
PLAIN: Final = ((1, 1), (0, 0), (1, 1), 1)


def fused(graph: fx.GraphModule, scheme: Scheme) -> fx.GraphModule:
    """A copy of a canonical `graph` that rounds what is read, under `scheme`."""
    made = copy.deepcopy(graph)
    read = read_grids(made, scheme)
    snap_reads_(made, scheme, _quantize)
    for node, grid in read.items():
        _use_kernel_(made, node, scheme, grid)
    for node in list(made.graph.nodes):
        if node.target is ATEN.hardsigmoid.default:
            node.target = kernels.hard_sigmoid
        elif node not in read and is_depthwise(made, node):
            node.args = (
                node.args[0],
                weight_of(node),
                bias_of(node),
                geometry_of(node),
            )
            node.target = kernels.depthwise_in_order
    refreshed_(made)
    return made


def geometry_of(node: fx.Node) -> kernels.Geometry:
    """Stride, padding, dilation and groups of a convolution."""
    return cast("kernels.Geometry", (*node.args[3:], *PLAIN[len(node.args[3:]) :]))


def is_depthwise(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether `node` convolves each channel by itself, with one filter."""
    if node.target is not ATEN.conv2d.default or not is_weighted(node):
        return False
    shape = parameter(graph, weight_of(node)).shape
    return shape[1] == 1 and shape[0] == geometry_of(node)[3] > 1


def read_grids(graph: fx.GraphModule, scheme: Scheme) -> dict[fx.Node, Grid]:
    """The operators that compute with integers, each with the grid that it reads."""
    return {
        node: grid
        for node in graph.graph.nodes
        if (is_weighted(node) or node.target is ATEN.adaptive_avg_pool2d.default)
        and rule_of(node) is not None
        and node.name not in scheme.left_float
        and (grid := scheme.activations.get(cast("fx.Node", node.args[0]).name))
    }


def snap_reads_(
    graph: fx.GraphModule,
    scheme: Scheme,
    snap: "Callable[[fx.Graph, fx.Node, Grid], fx.Node]",
) -> None:
    """Let every INT8 reader of a tensor read it on its grid, in place."""
    readers = int8_readers(
        graph, grids=scheme.activations, left_float=scheme.left_float
    )
    for node, users in readers.items():
        with graph.graph.inserting_before(node.next):
            rounded = snap(graph.graph, node, scheme.activations[node.name])
        for user in users:
            user.replace_input_with(node, rounded)


def _quantize(graph: fx.Graph, node: fx.Node, grid: Grid) -> fx.Node:
    """Round in one call, which stands for what the file writes."""
    made = graph.call_function(kernels.quantize, (node, grid))
    made.meta[KERNEL_OF] = node.name
    return made


def _use_kernel_(
    graph: fx.GraphModule, node: fx.Node, scheme: Scheme, source: Grid
) -> None:
    """Let `node` sum integers and give float numbers."""
    if is_weighted(node):
        kernel, arguments = _weighted(graph, node, scheme, source)
    else:
        kernel, arguments = kernels.global_average, (node.args[0], source, None)
    with graph.graph.inserting_before(node):
        made = graph.graph.call_function(
            kernel, cast("tuple[fx.node.Argument, ...]", arguments)
        )
    node.replace_all_uses_with(made)


def _weighted(
    graph: fx.GraphModule, node: fx.Node, scheme: Scheme, source: Grid
) -> "tuple[Callable[..., object], tuple[object, ...]]":
    """The kernel of a convolution or linear layer, with integer weights."""
    name = str(weight_of(node).target)
    scales = scheme.weights[name]
    whole = weight_steps(parameter(graph, weight_of(node)), scales).float()
    weight = add_buffer(graph, node, f"{name}_int", whole)
    factors = add_buffer(graph, node, f"{name}_factors", scales * source.scale)
    start = (node.args[0], weight, bias_of(node))
    if node.target is ATEN.linear.default:
        return kernels.linear_in_float, (*start, source, factors)
    return kernels.conv2d_in_float, (*start, geometry_of(node), source, factors)
