"""A graph on its grids: what integer kernels compute, in float arithmetic.

Weights are rounded to int8 and biases to int32 steps; every INT8 tensor is rounded
where a kernel writes it, by the arithmetic of `kernels.py`, which is that of runtimes.
"""

import copy
import importlib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, cast

import torch
from torch import Tensor, fx, nn

from compress.int8 import kernels
from compress.int8.capture import ATEN, add_buffer, parameter, refreshed_
from compress.int8.fused import KERNEL_OF, PLAIN, fused, snap_reads_
from compress.int8.grids import Scheme, bias_steps, weight_steps
from compress.int8.operators import (
    Rule,
    bias_of,
    inputs_of,
    is_fused,
    rule_of,
    weight_of,
    weighted,
    written,
)
from export.qparams import HIGH, LOW, Grid

QDQ: Final = torch.ops.quantized_decomposed
BINARY: Final[Mapping[object, Callable[..., Tensor]]] = {
    ATEN.add.Tensor: kernels.add,
    ATEN.mul.Tensor: kernels.multiply,
}
Arguments = tuple[fx.node.Argument, ...]
# Puts a tensor on its grid: gets the graph, the node and the grid; gives the new node.
Snap = Callable[[fx.Graph, fx.Node, Grid], fx.Node]


def simulated(graph: fx.GraphModule, scheme: Scheme) -> fx.GraphModule:
    """A copy of a canonical `graph` that computes as INT8 kernels do under `scheme`."""
    if scheme.rounding == "on_read":
        return fused(graph, scheme)
    made = copy.deepcopy(graph)
    # Looked up before anything is replaced: the grids that each INT8 operator reads.
    read = {
        node: [scheme.activations[each.name] for each in inputs_of(node, rule)]
        for node in made.graph.nodes
        if is_int8(node, scheme) and (rule := rule_of(node)) is not None
    }
    snap_activations_(made, scheme, read.keys(), _quantize)
    for node, grids in read.items():
        _use_kernel_(made, node, scheme, grids)
    refreshed_(made)
    return made


def is_int8(node: fx.Node, scheme: Scheme) -> bool:
    """Whether `node` computes in INT8 under `scheme`."""
    rule = rule_of(node)
    if rule is None or node.name in scheme.left_float:
        return False
    return all(each.name in scheme.activations for each in inputs_of(node, rule))


def snap_activations_(
    graph: fx.GraphModule, scheme: Scheme, int8: AbstractSet[fx.Node], snap: Snap
) -> None:
    """Put every INT8 tensor on its grid, in place.

    What an INT8 operator gives is rounded for everyone; what a float one gives only for
    the INT8 operators that read it.
    """
    for node in list(graph.graph.nodes):
        grid = scheme.activations.get(node.name)
        if grid is None:
            continue
        writer = node.args[0] if is_clamp_of_fused(node) else node
        readers = [user for user in node.users if writer in int8 or user in int8]
        if not readers:
            continue
        with graph.graph.inserting_before(cast("fx.Node", node.next)):
            rounded = snap(graph.graph, node, grid)
        for user in readers:
            user.replace_input_with(node, rounded)


def is_clamp_of_fused(node: fx.Node) -> bool:
    """Whether `node` is a clamp that the operator before it performs."""
    rule = rule_of(node)
    return rule is not None and rule.clamp and is_fused(cast("fx.Node", node.args[0]))


def _quantize(graph: fx.Graph, node: fx.Node, grid: Grid) -> fx.Node:
    """Round in one call."""
    return graph.call_function(kernels.quantize, (node, grid))


def _use_kernel_(
    graph: fx.GraphModule, node: fx.Node, scheme: Scheme, grids: Sequence[Grid]
) -> None:
    """Let `node`, its clamp and its rounding be one integer kernel, if it has one."""
    rule = cast("Rule", rule_of(node))
    last = written(node)
    bounds = kernels.UNBOUNDED if last is node else bounds_of(last)
    target = scheme.activations.get(last.name)
    if rule.weights:
        call = _weighted(graph, node, scheme, grids[0], target)
        if call is None:
            return
        kernel, arguments = call
        arguments = (*arguments, bounds)
    elif node.target is ATEN.adaptive_avg_pool2d.default and node.args[1] == [1, 1]:
        kernel, arguments = kernels.global_average, (node.args[0], *grids, target)
    elif node.target in BINARY and target is not None:
        kernel = BINARY[node.target]
        arguments = (*node.args[:2], *grids, target, bounds)
    else:
        return  # its float operator and the rounding after it say the same
    with graph.graph.inserting_before(node):
        made = graph.graph.call_function(kernel, cast("Arguments", arguments))
    made.meta[KERNEL_OF] = node.name
    rounded = next(
        (user for user in last.users if user.target is kernels.quantize), last
    )
    rounded.replace_all_uses_with(made)


def _weighted(
    graph: fx.GraphModule,
    node: fx.Node,
    scheme: Scheme,
    source: Grid,
    target: Grid | None,
) -> tuple[Callable[..., Tensor], tuple[object, ...]] | None:
    """The kernel of a convolution or linear layer, with integer weights."""
    name = str(weight_of(node).target)
    scales = scheme.weights[name]
    steps = scales * source.scale
    whole = weight_steps(parameter(graph, weight_of(node)), scales).float()
    weight = add_buffer(graph, node, f"{name}_int", whole)
    bias = bias_of(node)
    if bias is not None:
        counted = bias_steps(parameter(graph, bias), steps).float()
        bias = add_buffer(graph, node, f"{bias.target}_int", counted)
    by = steps if target is None else steps / target.scale
    factors = add_buffer(graph, node, f"{name}_factors", by)
    start = (node.args[0], weight, bias)
    if node.target is ATEN.linear.default:
        return kernels.linear, (*start, source, factors, target)
    if target is None:
        return None
    geometry = (*node.args[3:], *PLAIN[len(node.args[3:]) :])
    return kernels.conv2d, (*start, geometry, source, factors, target)


def bounds_of(node: fx.Node) -> kernels.Bounds:
    """What a clamp lets through."""
    if node.target is ATEN.relu.default:
        return 0.0, float("inf")
    _, low, high = node.args
    return cast("float", low), cast("float", high)


def _quantize_dequantize(graph: fx.Graph, node: fx.Node, grid: Grid) -> fx.Node:
    """Round as the two operators that exporters know."""
    scale = (grid.scale, grid.zero_point, LOW, HIGH, torch.int8)
    steps = graph.call_function(QDQ.quantize_per_tensor.default, (node, *scale))
    return graph.call_function(QDQ.dequantize_per_tensor.default, (steps, *scale))


def with_qdq(graph: fx.GraphModule, scheme: Scheme) -> fx.GraphModule:
    """A copy of a canonical `graph` with Q and DQ operators, for exporters.

    Weights are stored as int8 and biases as int32, each behind a DQ of its own; where
    what is read is rounded, biases stay float.
    """
    # Registers these operators; torchao does, too, but takes five seconds for it.
    importlib.import_module("torch.ao.quantization.fx._decomposed")
    made = copy.deepcopy(graph)
    int8 = {node for node in made.graph.nodes if is_int8(node, scheme)}
    for node in weighted(made):
        if node not in int8:
            continue
        source = scheme.activations[cast("fx.Node", node.args[0]).name]
        scales = scheme.weights[str(weight_of(node).target)]
        weight = parameter(made, weight_of(node))
        _store_(made, node, weight_of(node), weight_steps(weight, scales), scales)
        bias = bias_of(node)
        if bias is not None and scheme.rounding == "on_write":
            steps = scales * source.scale
            _store_(made, node, bias, bias_steps(parameter(made, bias), steps), steps)
    if scheme.rounding == "on_read":
        snap_reads_(made, scheme, _quantize_dequantize)
    else:
        snap_activations_(made, scheme, int8, _quantize_dequantize)
    refreshed_(made)
    return made


def _store_(
    graph: fx.GraphModule, reader: fx.Node, node: fx.Node, steps: Tensor, scales: Tensor
) -> None:
    """Let `reader` read integers behind a DQ, per output channel, instead of `node`."""
    limits = torch.iinfo(steps.dtype)
    stored = add_buffer(graph, reader, f"{node.target}_int", steps)
    by = add_buffer(graph, reader, f"{node.target}_scale", scales)
    zero = add_buffer(
        graph,
        reader,
        f"{node.target}_zero",
        torch.zeros(len(scales), dtype=torch.int64),
    )
    with graph.graph.inserting_before(reader):
        real = graph.graph.call_function(
            QDQ.dequantize_per_channel.default,
            (stored, by, zero, 0, limits.min, limits.max, steps.dtype),
        )
    reader.replace_input_with(node, real)


class QuantizedNet(nn.Module):
    """A canonical graph and its grids; called, it answers as INT8 files do."""

    def __init__(self, graph: fx.GraphModule, scheme: Scheme) -> None:
        """Keep both; the simulation is made when it is first asked for."""
        super().__init__()
        self.graph: fx.GraphModule = graph
        self.scheme = scheme
        self._made: list[fx.GraphModule] = []

    def forward(self, images: Tensor) -> Tensor:
        """Map float32 [n, 3, size, size] to float32 logits [n, classes]."""
        if not self._made:
            self._made.append(simulated(self.graph, self.scheme))
        answer: Tensor = self._made[0](images)
        return answer

    def size_bytes(self) -> int:
        """Bytes of the weights: one each where they are int8, else four, as biases."""
        narrow = set(self.scheme.weights)
        return sum(
            values.numel() * (1 if name in narrow else 4)
            for name, values in self.graph.named_parameters()
        )
