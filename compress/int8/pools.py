"""Averages over windows as convolutions, which every runtime rounds alike."""

from math import prod
from typing import Any, Final, cast

import torch
from torch import Tensor, fx

from compress.int8.capture import ATEN, add_buffer, add_parameter
from compress.int8.operators import rule_of

# Stride, padding, rounding up, counting of padding, divisor: torch's defaults.
_DEFAULTS: Final[tuple[Any, ...]] = (None, [0, 0], False, True, None)
# A mean of more places has no grid on which float32 keeps every sum off ties; see
# `means`.
MOST_PLACES: Final = 56 * 56


def averages_are_convolutions_(graph: fx.GraphModule) -> None:
    """Write an average over windows as a depthwise convolution with equal weights.

    A quarter of four steps is a tie in one case of four, and runtimes round the ties of
    their pools in different ways; those of convolutions all to even. Windows that an
    edge cuts short count fewer numbers: a product with a constant map, which stays
    float, makes up for that. Left alone are a global average, which has kernels of its
    own once its map is not too large, and adaptive windows of different sizes: both get
    a grid to themselves, which avoids ties (`means.calm_mean`).
    """
    _means_are_taken_once_(graph)
    for node in list(graph.graph.nodes):
        if node.target is ATEN.adaptive_avg_pool2d.default and node.users:
            _tile_(node)
        if node.target is ATEN.avg_pool2d.default:
            _convolve_(graph, node)
        if node.target is ATEN.adaptive_avg_pool2d.default and node.users:
            _shrink_(graph, node)
            _stand_alone_(graph, node)


def _means_are_taken_once_(graph: fx.GraphModule) -> None:
    """Let who reads the same average of a map read the first one.

    litert-torch makes one of them, too, and loses all grids but one.
    """
    seen: dict[tuple[object, ...], fx.Node] = {}
    for node in graph.graph.nodes:
        if node.target is ATEN.adaptive_avg_pool2d.default:
            first = seen.setdefault((node.args[0], *pair_of(node.args[1])), node)
            if first is not node:
                node.replace_all_uses_with(first)


def _tile_(node: fx.Node) -> None:
    """Spell an adaptive average over windows of one size as a plain one.

    Where windows are shorter than a place, it repeats places.
    """
    source, bins = cast("fx.Node", node.args[0]), pair_of(node.args[1])
    sides = map_of(source)
    if bins == [1, 1]:
        return
    if bins == sides:
        node.replace_all_uses_with(source)
    elif not any(side % count for side, count in zip(sides, bins, strict=True)):
        tile = [side // count for side, count in zip(sides, bins, strict=True)]
        node.target, node.args = ATEN.avg_pool2d.default, (source, tile)
    elif not any(count % side for side, count in zip(sides, bins, strict=True)):
        node.target, node.args = ATEN.upsample_nearest2d.vec, (source, bins, None)


def _convolve_(graph: fx.GraphModule, node: fx.Node) -> None:
    """Make one average a convolution, and a product where an edge cuts windows."""
    source, window, *given = node.args
    rest: tuple[Any, ...] = (*given, *_DEFAULTS[len(given) :])
    kernel, padding = pair_of(window), pair_of(rest[1])
    stride = pair_of(rest[0]) if rest[0] else kernel
    counted, divisor = rest[3:]
    source = cast("fx.Node", source)
    inner, outer = map_of(source), map_of(node)
    # Where the size is rounded up, the last window reaches beyond the padding.
    beyond = [
        max((places - 1) * step + side - 2 * pad - size, 0)
        for places, step, side, pad, size in zip(
            outer, stride, kernel, padding, inner, strict=True
        )
    ]
    counts = [
        _counts(places, step, side, pad, size, counted=counted)
        for places, step, side, pad, size in zip(
            outer, stride, kernel, padding, inner, strict=True
        )
    ]
    whole = divisor is not None or all(
        bool((count == side).all()) for count, side in zip(counts, kernel, strict=True)
    )
    channels = node.meta["val"].shape[1]
    share = torch.full((channels, 1, *kernel), 1 / (divisor or prod(kernel)))
    weight = add_parameter(graph, node, f"{node.name}_share", share)
    with graph.graph.inserting_before(node):
        if any(beyond):
            (top, left), (down, right) = padding, beyond
            edges = [left, left + right, top, top + down]
            pad = ATEN.constant_pad_nd.default
            source = graph.graph.call_function(pad, (source, edges, 0.0))
            source._rename(f"{node.name}_padded")  # noqa: SLF001  # keeps names unique
            padding = [0, 0]
        arguments = (source, weight, None, stride, padding, [1, 1], channels)
        if whole:
            node.target, node.args = ATEN.conv2d.default, arguments
            return
        average = graph.graph.call_function(ATEN.conv2d.default, arguments)
        average._rename(f"{node.name}_counted")  # noqa: SLF001  # as above
    more = prod(kernel) / torch.outer(*counts)
    factor = add_buffer(graph, node, f"{node.name}_more", more[None, None])
    node.target, node.args = ATEN.mul.Tensor, (average, factor)
    _stand_alone_(graph, node)


def _stand_alone_(graph: fx.GraphModule, node: fx.Node) -> None:
    """Give a mean a grid of its own: where others have a say, a copy moves to theirs.

    What is added up shares a scale, what is concatenated a grid, and h-swish has one
    that is made for it. The copy is a depthwise convolution by 1, which is rounded
    alike everywhere.
    """
    if _is_alone(node):
        return
    channels = node.meta["val"].shape[1]
    users = list(node.users)
    with graph.graph.inserting_after(node):
        copied = graph.graph.call_function(ATEN.conv2d.default, (node,))
    ones = torch.ones(channels, 1, 1, 1)
    weight = add_parameter(graph, copied, f"{node.name}_same", ones)
    copied.args = (node, weight, None, [1, 1], [0, 0], [1, 1], channels)
    copied.meta = dict(node.meta)
    copied._rename(f"{node.name}_copied")  # noqa: SLF001  # keeps names unique
    for user in users:
        user.replace_input_with(node, copied)


def _is_alone(node: fx.Node) -> bool:
    """Whether nobody but `node` has a say in the grid that it writes to."""
    for user in node.users:
        rule = rule_of(user)
        if rule is None:
            continue
        if (
            rule.same_scale
            or rule.output == "joined"
            or user.target is ATEN.hardsigmoid.default
        ):
            return False
        if rule.output == "shared" and not _is_alone(user):
            return False
    return True


def _shrink_(graph: fx.GraphModule, node: fx.Node) -> None:
    """Take the mean of a large map in two steps, over windows and over their sums.

    The windows are as small as can be. Zeros beyond an edge add nothing; so their
    weights are such that the mean of all windows is that of all places.
    """
    source = cast("fx.Node", node.args[0])
    sides = map_of(source)
    if pair_of(node.args[1]) != [1, 1] or prod(sides) <= MOST_PLACES:
        return
    window = next(
        size
        for size in range(2, max(sides) + 1)
        if prod(-(-side // size) for side in sides) <= MOST_PLACES
    )
    windows = [-(-side // window) for side in sides]
    padding = [
        (count * window - side + 1) // 2
        for count, side in zip(windows, sides, strict=True)
    ]
    value = cast("Tensor", node.meta["val"])
    channels = value.shape[1]
    share = torch.full((channels, 1, window, window), prod(windows) / prod(sides))
    weight = add_parameter(graph, node, f"{node.name}_share", share)
    with graph.graph.inserting_before(node):
        smaller = graph.graph.call_function(
            ATEN.conv2d.default,
            (source, weight, None, [window, window], padding, [1, 1], channels),
        )
    smaller._rename(f"{node.name}_windows")  # noqa: SLF001  # keeps names unique
    value = value.new_empty(value.shape[0], channels, *windows)
    smaller.meta = {**node.meta, "val": value}
    node.replace_input_with(source, smaller)


def _counts(  # noqa: PLR0913  # what an axis of a window is made of
    places: int, step: int, side: int, pad: int, size: int, *, counted: bool
) -> Tensor:
    """How many numbers each window divides by, along one axis, [places]."""
    first = torch.arange(places) * step - pad
    last = (first + side).clamp(max=size + pad)
    if not counted:
        first, last = first.clamp(min=0), last.clamp(max=size)
    return last - first


def map_of(node: fx.Node) -> list[int]:
    """Height and width of what `node` gives."""
    return [int(side) for side in node.meta["val"].shape[2:]]


def pair_of(value: object) -> list[int]:
    """A number for each axis of a map."""
    if isinstance(value, int):
        return [value, value]
    pair = [int(each) for each in cast("list[int]", value)]
    return pair * 2 if len(pair) == 1 else pair
