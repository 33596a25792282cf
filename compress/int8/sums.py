"""Differences and scaled sums as plain sums, whose integer kernels add and no more."""

from typing import Final, cast

import torch
from torch import fx

from compress.int8.axes import shape_of
from compress.int8.capture import ATEN, add_buffer, parameter
from compress.int8.folding import (
    MOVING,
    WEIGHTED,
    calls,
    channelwise,
    scale_outputs_,
)

_MAP_RANK: Final = 4


def sums_are_plain_(graph: fx.GraphModule) -> None:
    """Write x + alpha * y and x - alpha * y as the sum of x and a tensor of its own."""
    for target, sign in ((ATEN.add.Tensor, 1.0), (ATEN.sub.Tensor, -1.0)):
        for node in calls(graph, target):
            factor = sign * cast("float", node.kwargs.get("alpha", 1.0))
            first, second = node.args
            if factor != 1:
                second = _scaled(graph, node, second, factor, beside=first)
            node.target, node.kwargs = ATEN.add.Tensor, {}
            node.args = (first, second)


def _scaled(
    graph: fx.GraphModule,
    node: fx.Node,
    operand: fx.node.Argument,
    factor: float,
    *,
    beside: fx.node.Argument,
) -> fx.node.Argument:
    """Give factor * operand, in the layer that made it where that is possible.

    It is not where the operand is also what it is added to.
    """
    if not isinstance(operand, fx.Node):
        return cast("float", operand) * factor
    if operand.op == "get_attr":
        values = parameter(graph, operand) * factor
        return add_buffer(graph, node, f"{node.name}_constant", values)
    layer = None if operand is beside else _layer_behind(operand)
    if layer is not None:
        outputs = len(parameter(graph, cast("fx.Node", layer.args[1])))
        scale = torch.full((outputs,), factor)
        scale_outputs_(graph, layer, scale, torch.zeros(outputs))
        return operand
    shape = shape_of(operand) or []
    if 1 < len(shape) <= _MAP_RANK and None not in shape[1:]:
        scale = torch.full((cast("int", shape[1]),), factor)
        made = channelwise(graph, node, operand, scale, torch.zeros_like(scale))
    else:
        with graph.graph.inserting_before(node):
            made = graph.graph.call_function(ATEN.mul.Tensor, (operand, factor))
    made._rename(f"{node.name}_scaled")  # noqa: SLF001  # keeps names unique
    made.meta = dict(operand.meta)
    return made


def _layer_behind(node: fx.Node) -> fx.Node | None:
    """The layer whose every output goes to `node` alone, at most moved on its way."""
    while len(node.users) == 1:
        if node.target in WEIGHTED:
            return node
        if node.target not in MOVING:
            return None
        node = cast("fx.Node", node.args[0])
    return None
