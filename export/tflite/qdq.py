"""Reading and writing graphs with quantize and dequantize operators."""

from typing import Final, cast

import torch
from torch import Tensor, fx

from export.qparams import HIGH, LOW, Grid

ATEN: Final = torch.ops.aten


def load_operators() -> None:
    """Make torch know quantize and dequantize."""
    import torchao.quantization.pt2e  # noqa: F401  # registers them


def quantize() -> object:
    """The operator that rounds a tensor to a grid."""
    return torch.ops.quantized_decomposed.quantize_per_tensor.default


def dequantize() -> object:
    """The operator that gives real numbers again."""
    return torch.ops.quantized_decomposed.dequantize_per_tensor.default


def quantize_channels() -> object:
    """The operator that rounds a weight to a grid for each output."""
    return torch.ops.quantized_decomposed.quantize_per_channel.default


def dequantize_channels() -> object:
    """The operator that gives a weight's real numbers again."""
    return torch.ops.quantized_decomposed.dequantize_per_channel.default


def grid_of(node: fx.Node) -> Grid:
    """The grid of a quantize or dequantize."""
    return Grid(float(cast("float", node.args[1])), int(cast("int", node.args[2])))


def read_on(node: object) -> Grid | None:
    """The grid that the tensor `node` lies on, if it is a dequantized one."""
    if isinstance(node, fx.Node) and node.target is dequantize():
        return grid_of(node)
    return None


def written_on(node: fx.Node) -> Grid | None:
    """The grid that all who read `node` read it on, if there is one."""
    found = {
        grid_of(user) if user.target is quantize() else None for user in node.users
    }
    return found.pop() if len(found) == 1 else None


def snapped(graph: fx.Graph, node: fx.Node, grid: Grid) -> fx.Node:
    """Put `node` on a grid where the graph stands."""
    arguments = (grid.scale, grid.zero_point, LOW, HIGH, torch.int8)
    steps = graph.call_function(quantize(), (node, *arguments))  # type: ignore[arg-type]
    return graph.call_function(dequantize(), (steps, *arguments))  # type: ignore[arg-type]


def constant(graph: fx.GraphModule, name: str, value: Tensor) -> fx.Node:
    """A constant of the graph, where it stands."""
    while hasattr(graph, name):
        name += "_"
    graph.register_buffer(name, value)
    return graph.graph.get_attr(name)


def value_of(graph: fx.GraphModule, node: object) -> Tensor:
    """The tensor that a `get_attr` node reads."""
    found = getattr(graph, str(cast("fx.Node", node).target))
    return cast("Tensor", found).detach()
