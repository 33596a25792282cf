"""Which axis of a tensor holds its channels: third from last in maps, last in tokens.

Axes are counted from the end, so that they stay what they are when tensors of other
ranks are added.
"""

from math import prod
from typing import Any, Final

from torch import Tensor, fx

from compress.int8.capture import ATEN

OF_MAPS: Final = -3  # [n, channels, h, w]
OF_TOKENS: Final = -1  # [n, channels], [n, tokens, channels]
_MAP_RANK: Final = 4
# What gives each channel where it read it.
_KEEPING: Final = frozenset(
    {
        ATEN.relu.default,
        ATEN.hardtanh.default,
        ATEN.leaky_relu.default,
        ATEN.hardsigmoid.default,
        ATEN.sigmoid.default,
        ATEN.add.Tensor,
        ATEN.mul.Tensor,
        ATEN.max_pool2d.default,
        ATEN.adaptive_avg_pool2d.default,
    }
)
_RESHAPING: Final = frozenset(
    {ATEN.reshape.default, ATEN.view.default, ATEN.flatten.using_ints}
)


def channel_axis(node: fx.Node) -> int:
    """The axis of the channels that a convolution or linear layer writes and reads."""
    return OF_TOKENS if node.target is ATEN.linear.default else OF_MAPS


def axis_of(value: Tensor) -> int:
    """The axis of a tensor's channels, if all that is known is its shape."""
    return OF_MAPS if value.dim() == _MAP_RANK else OF_TOKENS


def channel_axes(graph: fx.GraphModule) -> dict[str, int]:
    """The axis of the channels of every tensor whose layer is known, by node."""
    found: dict[str, int] = {}
    for node in graph.graph.nodes:
        if node.target in {ATEN.conv2d.default, ATEN.linear.default}:
            found[node.name] = channel_axis(node)
        elif node.target in _KEEPING and node.args[0].name in found:
            found[node.name] = found[node.args[0].name]
    return found


def by_channel(one: Tensor, axis: int) -> Tensor:
    """A tensor as [places, channels], a view where memory allows."""
    return one.movedim(axis, -1).reshape(-1, one.shape[axis])


def writer_of(node: fx.Node, axis: int) -> tuple[fx.Node, int]:
    """Where the numbers along one axis of `node` come from, their moves looked through.

    Gives the first node back that does more than move them, or that something else
    reads, too, and which of its axes that is.
    """
    while True:
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or len(source.users) != 1:
            return node, axis
        before = _axis_before(node, source, axis)
        if before is None:
            return node, axis
        node, axis = source, before


def _axis_before(node: fx.Node, source: fx.Node, axis: int) -> int | None:
    """Which axis of `source` becomes axis `axis` of `node`, if one does as it is."""
    inner, outer = shape_of(source), shape_of(node)
    if inner is None or outer is None:
        return None
    if node.target in {ATEN.transpose.int, ATEN.permute.default}:
        order = list(range(len(inner)))
        if node.target is ATEN.permute.default:
            order = [int(each) % len(inner) for each in _list(node.args[1])]
        else:
            one, other = (int(str(each)) % len(inner) for each in node.args[1:3])
            order[one], order[other] = order[other], order[one]
        return order[axis] - len(inner)
    if node.target not in _RESHAPING:
        return None
    wanted = (outer[axis], _after(outer, axis))
    for place in range(-len(inner), 0):
        if (inner[place], _after(inner, place)) == wanted and None not in wanted:
            return place
    return None


def shape_of(node: fx.Node) -> list[int | None] | None:
    """The sizes of what a traced `node` gives; None for one that the batch decides."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return None
    return [size if isinstance(size, int) else None for size in value.shape]


def _after(shape: list[int | None], axis: int) -> int | None:
    """How many numbers lie behind one step along `axis`."""
    behind = shape[len(shape) + axis + 1 :]
    return None if None in behind else prod(size or 0 for size in behind)


def _list(value: Any) -> list[Any]:  # noqa: ANN401  # whatever the operator takes
    """Axes, as an operator is called with."""
    return list(value)
