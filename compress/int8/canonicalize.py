"""Exact rewrites that turn a traced network into operators with INT8 kernels.

Each pass takes the graph and changes it in place; none changes what is computed by
more than float32's rounding. A test holds the graph against the network after them.
"""

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, cast

import torch
from torch import Tensor, fx

from compress.int8.axes import shape_of
from compress.int8.biases import dead_filters_move_on_
from compress.int8.capture import ATEN, add_buffer, add_parameter, parameter, refreshed_
from compress.int8.folding import (
    CONVOLUTION,
    MOVING,
    WEIGHTED,
    calls,
    scale_outputs_,
    take_name_,
)
from compress.int8.norms import fold_batch_norm_
from compress.int8.operators import check_arguments
from compress.int8.padding import (
    convolutions_pad_themselves_,
    pools_pad_themselves_,
)
from compress.int8.pools import averages_are_convolutions_
from compress.int8.sums import sums_are_plain_
from export.onnx.broadcasts import broadcasts_are_implied_

Sizes = list[int | None]
# What ends with a clamp at no cost.
_CLAMPING: Final = frozenset({*WEIGHTED, ATEN.add.Tensor, ATEN.mul.Tensor})
_MAP_AXES: Final = ([2, 3], [-2, -1], [-1, -2], [3, 2])


def canonical_(graph: fx.GraphModule) -> None:
    """Apply every rewrite, in the order in which they enable each other.

    An operator that is left with an argument of which its INT8 kernel knows nothing is
    an InputRejectedError that names the layer.
    """
    for rewrite in _PASSES:
        rewrite(graph)
        refreshed_(graph)
    for node in graph.graph.nodes:
        check_arguments(node)


def fold_gates_(graph: fx.GraphModule) -> None:
    """Make the hard-sigmoid after a convolution a clamp: x/6 + 1/2 goes into it."""
    for node in calls(graph, ATEN.hardsigmoid.default):
        source = cast("fx.Node", node.args[0])
        if source.target not in WEIGHTED or len(source.users) > 1:
            continue
        outputs = parameter(graph, cast("fx.Node", source.args[1])).shape[0]
        scale_outputs_(
            graph, source, torch.full((outputs,), 1 / 6), torch.full((outputs,), 0.5)
        )
        node.target, node.args = ATEN.hardtanh.default, (source, 0.0, 1.0)


def spell_out_swish_(graph: fx.GraphModule) -> None:
    """Write x * gate(x) for hard-swish and SiLU; INT8 kernels know both halves."""
    halves = {
        ATEN.hardswish.default: ATEN.hardsigmoid.default,
        ATEN.silu.default: ATEN.sigmoid.default,
    }
    for whole, gate in halves.items():
        for node in calls(graph, whole):
            (source,) = _arguments(node)
            with graph.graph.inserting_before(node):
                half = graph.graph.call_function(gate, (source,))
                half.meta = dict(node.meta)
                half._rename(f"{node.name}_gate")  # noqa: SLF001  # keeps names unique
            node.target, node.args = ATEN.mul.Tensor, (source, half)


def means_are_pools_(graph: fx.GraphModule) -> None:
    """Write the mean over a map as a global average pool, which has integer kernels."""
    for node in calls(graph, ATEN.mean.dim):
        source, axes, *keep = _arguments(node)
        if list(axes) not in _MAP_AXES or node.kwargs:  # a mean in another type
            continue
        if not (keep and keep[0]):
            with graph.graph.inserting_after(node):
                flat = graph.graph.call_function(ATEN.flatten.using_ints, (node, 1))
                flat.meta = dict(node.meta)
            node.replace_all_uses_with(flat, delete_user_cb=partial(operator.ne, flat))
        node.target, node.args = ATEN.adaptive_avg_pool2d.default, (source, [1, 1])


def clamps_are_alike_(graph: fx.GraphModule) -> None:
    """Spell every clamp with constant bounds as hardtanh."""
    for node in calls(graph, ATEN.clamp.default):
        source, low, high = (*_arguments(node), None, None)[:3]
        if isinstance(low, int | float) and isinstance(high, int | float):
            node.target, node.args = ATEN.hardtanh.default, (source, low, high)
        elif low == 0 and high is None:
            node.target, node.args = ATEN.relu.default, (source,)
    for node in calls(graph, ATEN.hardtanh.default):
        source, *given = _arguments(node)
        low, high = map(float, (given + [-1.0, 1.0][len(given) :]))
        node.args = (source, low, high)
    for node in calls(graph, ATEN.relu6.default):
        node.target, node.args = ATEN.hardtanh.default, (node.args[0], 0.0, 6.0)


def clamps_come_first_(graph: fx.GraphModule) -> None:
    """Clamp before numbers are moved, where the layer that gives them can do it."""
    for target in (ATEN.relu.default, ATEN.hardtanh.default):
        for node in calls(graph, target):
            first = source = cast("fx.Node", node.args[0])
            while source.target in MOVING and len(source.users) == 1:
                first, source = source, cast("fx.Node", source.args[0])
            if (
                first is source
                or source.target not in _CLAMPING
                or len(source.users) > 1
            ):
                continue
            with graph.graph.inserting_after(source):
                clamp = graph.graph.call_function(target, (source, *node.args[1:]))
            clamp.meta = dict(source.meta)
            first.replace_input_with(source, clamp)
            node.replace_all_uses_with(cast("fx.Node", node.args[0]))
            take_name_(clamp, node)


def leave_out_no_ops_(graph: fx.GraphModule) -> None:
    """Drop what does nothing in inference."""
    for target in (ATEN.dropout.default, ATEN.clone.default, ATEN.alias.default):
        for node in calls(graph, target):
            node.replace_all_uses_with(cast("fx.Node", node.args[0]))
    for node in calls(graph, ATEN.expand.default):
        if all(size == -1 for size in _arguments(node)[1]):
            node.replace_all_uses_with(cast("fx.Node", node.args[0]))


def fold_constants_(graph: fx.GraphModule) -> None:
    """Compute once what reads nothing but weights, such as a table of positions."""
    for node in list(graph.graph.nodes):
        read = node.all_input_nodes
        if node.op != "call_function" or not read:
            continue
        if any(each.op != "get_attr" for each in read):
            continue
        arguments = fx.map_arg(node.args, partial(parameter, graph))
        value = cast("Tensor", node.target(*arguments, **node.kwargs))
        constant = add_buffer(graph, node, f"{node.name}_constant", value.detach())
        node.replace_all_uses_with(constant)


def heads_are_linear_(graph: fx.GraphModule) -> None:
    """Write a 1x1 convolution of pooled features as a linear layer, if it is the last.

    Linear kernels can give float sums; convolutions must round theirs.
    """
    flattens = {ATEN.reshape.default, ATEN.view.default, ATEN.flatten.using_ints}
    for node in calls(graph, CONVOLUTION):
        source, kernel, *rest = _arguments(node)
        last = next(iter(node.users))
        if (
            cast("fx.Node", source).target is not ATEN.adaptive_avg_pool2d.default
            or len(node.users) != 1
            or last.target not in flattens
            or any(user.op != "output" for user in last.users)
        ):
            continue
        weight = parameter(graph, cast("fx.Node", kernel))
        if weight.shape[2:] != (1, 1) or (len(rest) > 4 and rest[4] != 1):  # noqa: PLR2004  # bias, stride, padding, dilation, groups
            continue
        flat_weight = add_parameter(
            graph, node, f"{cast('fx.Node', kernel).target}_flat", weight.flatten(1)
        )
        with graph.graph.inserting_before(node):
            flat = graph.graph.call_function(ATEN.flatten.using_ints, (source, 1))
            flat.meta = dict(node.meta)
        node.target, node.args = ATEN.linear.default, (flat, flat_weight, *rest[:1])
        last.replace_all_uses_with(node)


def splits_are_slices_(graph: fx.GraphModule) -> None:
    """Take each part of a split as a slice of its own, which every runtime has."""
    for target, cut in _SPLITS.items():
        for node in calls(graph, target):
            source, *rest = _arguments(node)
            for part in list(node.users):
                call, given = cut(
                    shape_of(source) or [], cast("int", part.args[1]), *rest
                )
                with graph.graph.inserting_before(part):
                    piece = graph.graph.call_function(call, (source, *given))
                piece.meta = dict(part.meta)
                part.replace_all_uses_with(piece)
                take_name_(piece, part)


Cut = tuple[Callable[..., Any], tuple[int, ...]]


def _of_one_size(_: Sizes, place: int, size: int, axis: int = 0) -> Cut:
    """Part `place` of a split into parts of one size."""
    return ATEN.slice.Tensor, (axis, place * size, (place + 1) * size)


def _of_sizes(_: Sizes, place: int, sizes: list[int], axis: int = 0) -> Cut:
    """Part `place` of a split into parts of these sizes."""
    first = sum(sizes[:place])
    return ATEN.slice.Tensor, (axis, first, first + sizes[place])


def _of_count(shape: Sizes, place: int, count: int, axis: int = 0) -> Cut:
    """Part `place` of about `count` parts, the last of which may be smaller."""
    return _of_one_size(shape, place, -(-(shape[axis] or 0) // count), axis)


def _single(_: Sizes, place: int, axis: int = 0) -> Cut:
    """Place `place` along an axis, which goes."""
    return ATEN.select.int, (axis, place)


_SPLITS: Final[Mapping[object, Callable[..., Cut]]] = {
    ATEN.split.Tensor: _of_one_size,
    ATEN.split_with_sizes.default: _of_sizes,
    ATEN.chunk.default: _of_count,
    ATEN.unbind.int: _single,
}
_PASSES: Final[tuple[Callable[[fx.GraphModule], None], ...]] = (
    leave_out_no_ops_,
    broadcasts_are_implied_,
    fold_constants_,
    convolutions_pad_themselves_,
    fold_batch_norm_,
    sums_are_plain_,
    pools_pad_themselves_,
    clamps_are_alike_,
    clamps_come_first_,
    spell_out_swish_,
    fold_gates_,
    means_are_pools_,
    averages_are_convolutions_,
    heads_are_linear_,
    splits_are_slices_,
    dead_filters_move_on_,
)


def _arguments(node: fx.Node) -> tuple[Any, ...]:
    """What an operator is called with; its schema says of which types."""
    return node.args
