"""Scales and shifts of channels: folded into the layer beside them, or a layer more."""

from typing import Any, Final, cast

import torch
from torch import Tensor, fx

from compress.int8.axes import channel_axis, shape_of, writer_of
from compress.int8.capture import ATEN, add_parameter, parameter

CONVOLUTION: Final = ATEN.conv2d.default
WEIGHTED: Final = frozenset({CONVOLUTION, ATEN.linear.default})
# What gives every number that it reads, elsewhere.
MOVING: Final = frozenset(
    {
        ATEN.reshape.default,
        ATEN.view.default,
        ATEN.flatten.using_ints,
        ATEN.transpose.int,
        ATEN.permute.default,
        ATEN.squeeze.dims,
        ATEN.unsqueeze.default,
    }
)
_MAP_RANK: Final = 4


def layer_before(node: fx.Node, axis: int) -> fx.Node | None:
    """The layer whose outputs lie along axis `axis` of `node`, if it can be rescaled.

    Between them, numbers are only moved, and nothing else reads them; `node` is the
    layer itself where it is one.
    """
    writer, place = writer_of(node, axis)
    able = writer.target in WEIGHTED and channel_axis(writer) == place
    return writer if able else None


def scale_outputs_(
    graph: fx.GraphModule, node: fx.Node, scale: Tensor, shift: Tensor
) -> None:
    """Make a convolution or linear layer give scale * y + shift, channel by channel."""
    inputs, kernel, *rest = _arguments(node)
    weight = parameter(graph, cast("fx.Node", kernel))
    bias = bias_or_zeros(graph, node)
    shape = (-1, *([1] * (weight.dim() - 1)))
    scaled = (weight.double() * scale.double().view(shape)).float()
    moved = (bias * scale.double() + shift.double()).float()
    named = str(cast("fx.Node", kernel).target)
    new_weight = add_parameter(graph, node, f"{named}_folded", scaled)
    new_bias = add_parameter(graph, node, f"{named}_bias", moved)
    node.args = (inputs, new_weight, new_bias, *rest[1:])


def scale_inputs_(
    graph: fx.GraphModule, node: fx.Node, scale: Tensor, shift: Tensor
) -> None:
    """Make a linear layer read scale * x + shift, channel by channel."""
    inputs, kernel, *_ = _arguments(node)
    weight = parameter(graph, cast("fx.Node", kernel)).double()
    moved = bias_or_zeros(graph, node) + weight @ shift.double()
    named = str(cast("fx.Node", kernel).target)
    new_weight = add_parameter(
        graph, node, f"{named}_folded", (weight * scale.double()).float()
    )
    new_bias = add_parameter(graph, node, f"{named}_bias", moved.float())
    node.args = (inputs, new_weight, new_bias)


def channelwise(
    graph: fx.GraphModule, node: fx.Node, source: fx.Node, scale: Tensor, shift: Tensor
) -> fx.Node:
    """Give scale * x + shift of the channels along axis 1 of `source`, before `node`.

    A depthwise convolution, which has integer kernels; what is no map [n, c, h, w]
    becomes one for it.
    """
    call, shape = graph.graph.call_function, shape_of(source) or []
    kernel = scale.float().view(-1, 1, 1, 1)
    weight = add_parameter(graph, node, f"{node.name}_scale", kernel)
    bias = add_parameter(graph, node, f"{node.name}_shift", shift.float())
    flat = len(shape) != _MAP_RANK
    with graph.graph.inserting_before(node):
        if flat:
            ones = [1] * (_MAP_RANK - len(shape))
            source = call(ATEN.reshape.default, (source, [-1, *shape[1:], *ones]))
            source._rename(f"{node.name}_map")  # noqa: SLF001  # keeps names unique
        made = call(
            CONVOLUTION, (source, weight, bias, [1, 1], [0, 0], [1, 1], len(scale))
        )
        if not flat:
            return made
        made._rename(f"{node.name}_channels")  # noqa: SLF001  # as above
        return call(ATEN.reshape.default, (made, [-1, *shape[1:]]))


def bias_or_zeros(graph: fx.GraphModule, node: fx.Node) -> Tensor:
    """What a weighted node adds, in float64, [outputs]."""
    _, kernel, *rest = _arguments(node)
    if rest and isinstance(rest[0], fx.Node):
        return parameter(graph, rest[0]).double()
    outputs = len(parameter(graph, cast("fx.Node", kernel)))
    return torch.zeros(outputs, dtype=torch.float64)


def take_name_(node: fx.Node, old: fx.Node) -> None:
    """Call `node` what `old`, which is about to go, was called."""
    name = old.name
    old._rename(f"{name}_gone")  # noqa: SLF001  # a graph's names are unique
    node._rename(name)  # noqa: SLF001  # as above


def calls(graph: fx.GraphModule, target: object) -> list[fx.Node]:
    """Every call of `target`, in order; a list, since passes change the graph."""
    return [node for node in graph.graph.nodes if node.target is target]


def _arguments(node: fx.Node) -> tuple[Any, ...]:
    """What an operator is called with; its schema says of which types."""
    return node.args
