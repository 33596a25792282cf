"""Exact rewrites that turn a traced network into operators with INT8 kernels.

Each pass takes the graph and changes it in place; none changes what is computed by
more than float32's rounding. A test holds the graph against the network after them.
"""

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import torch
from torch import Tensor, fx

from compress.int8.biases import dead_filters_move_on_
from compress.int8.capture import ATEN, add_buffer, add_parameter, parameter, refreshed_
from compress.int8.pools import averages_are_convolutions_

BATCH_NORM: Final = ATEN._native_batch_norm_legit_no_training.default  # noqa: SLF001  # torch's name
CONVOLUTION: Final = ATEN.conv2d.default
WEIGHTED: Final = frozenset({CONVOLUTION, ATEN.linear.default})
_MAP_AXES: Final = ([2, 3], [-2, -1], [-1, -2], [3, 2])


def canonical_(graph: fx.GraphModule) -> None:
    """Apply every rewrite, in the order in which they enable each other."""
    for rewrite in _PASSES:
        rewrite(graph)
        refreshed_(graph)


def fold_batch_norm_(graph: fx.GraphModule) -> None:
    """Fold batch normalisation into the convolution before it (Jacob et al. 2018).

    Where there is none, as in pre-activation networks, it becomes a depthwise 1x1
    convolution: a scale and a shift for each channel.
    """
    for node in _calls(graph, BATCH_NORM):
        (result,) = node.users
        source = cast("fx.Node", node.args[0])
        scale, shift = _affine(graph, node)
        if source.target is CONVOLUTION and len(source.users) == 1:
            _scale_outputs_(graph, source, scale, shift)
            result.replace_all_uses_with(source)
            continue
        weight = add_parameter(
            graph, node, f"{node.name}_scale", scale.float().view(-1, 1, 1, 1)
        )
        bias = add_parameter(graph, node, f"{node.name}_shift", shift.float())
        with graph.graph.inserting_before(node):
            affine = graph.graph.call_function(
                CONVOLUTION,
                (source, weight, bias, [1, 1], [0, 0], [1, 1], len(scale)),
            )
        result.replace_all_uses_with(affine)
        affine.meta = dict(result.meta)
        _take_name_(affine, node)


def fold_gates_(graph: fx.GraphModule) -> None:
    """Make the hard-sigmoid after a convolution a clamp: x/6 + 1/2 goes into it."""
    for node in _calls(graph, ATEN.hardsigmoid.default):
        source = cast("fx.Node", node.args[0])
        if source.target not in WEIGHTED or len(source.users) > 1:
            continue
        outputs = parameter(graph, cast("fx.Node", source.args[1])).shape[0]
        _scale_outputs_(
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
        for node in _calls(graph, whole):
            (source,) = _arguments(node)
            with graph.graph.inserting_before(node):
                half = graph.graph.call_function(gate, (source,))
                half.meta = dict(node.meta)
                half._rename(f"{node.name}_gate")  # noqa: SLF001  # keeps names unique
            node.target, node.args = ATEN.mul.Tensor, (source, half)


def means_are_pools_(graph: fx.GraphModule) -> None:
    """Write the mean over a map as a global average pool, which has integer kernels."""
    for node in _calls(graph, ATEN.mean.dim):
        source, axes, *keep = _arguments(node)
        if list(axes) not in _MAP_AXES:
            continue
        if not (keep and keep[0]):
            with graph.graph.inserting_after(node):
                flat = graph.graph.call_function(ATEN.flatten.using_ints, (node, 1))
                flat.meta = dict(node.meta)
            node.replace_all_uses_with(flat, delete_user_cb=partial(operator.ne, flat))
        node.target, node.args = ATEN.adaptive_avg_pool2d.default, (source, [1, 1])


def clamps_are_alike_(graph: fx.GraphModule) -> None:
    """Spell every clamp with constant bounds as hardtanh."""
    for node in _calls(graph, ATEN.clamp.default):
        source, low, high = (*_arguments(node), None, None)[:3]
        if isinstance(low, int | float) and isinstance(high, int | float):
            node.target, node.args = ATEN.hardtanh.default, (source, low, high)
    for node in _calls(graph, ATEN.hardtanh.default):
        source, *given = _arguments(node)
        low, high = map(float, (given + [-1.0, 1.0][len(given) :]))
        node.args = (source, low, high)
    for node in _calls(graph, ATEN.relu6.default):
        node.target, node.args = ATEN.hardtanh.default, (node.args[0], 0.0, 6.0)


def leave_out_no_ops_(graph: fx.GraphModule) -> None:
    """Drop what does nothing in inference."""
    for target in (ATEN.dropout.default, ATEN.clone.default, ATEN.alias.default):
        for node in _calls(graph, target):
            node.replace_all_uses_with(cast("fx.Node", node.args[0]))
    for node in _calls(graph, ATEN.expand.default):
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
    for node in _calls(graph, CONVOLUTION):
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
    for node in _calls(graph, ATEN.split.Tensor):
        source, size, *axis = _arguments(node)
        for part in list(node.users):
            first = part.args[1] * size
            with graph.graph.inserting_before(part):
                piece = graph.graph.call_function(
                    ATEN.slice.Tensor,
                    (source, axis[0] if axis else 0, first, first + size),
                )
            piece.meta = dict(part.meta)
            part.replace_all_uses_with(piece)
            _take_name_(piece, part)


_PASSES: Final[tuple[Callable[[fx.GraphModule], None], ...]] = (
    leave_out_no_ops_,
    fold_constants_,
    fold_batch_norm_,
    clamps_are_alike_,
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


def _calls(graph: fx.GraphModule, target: object) -> list[fx.Node]:
    """Every call of `target`, in order; a list, since passes change the graph."""
    return [node for node in graph.graph.nodes if node.target is target]


def _affine(graph: fx.GraphModule, node: fx.Node) -> tuple[Tensor, Tensor]:
    """The scale and shift [channels] that a batch normalisation comes to."""
    _, weight, bias, mean, variance, _, epsilon = _arguments(node)
    middle, spread = (
        parameter(graph, cast("fx.Node", each)).double() for each in (mean, variance)
    )
    scale = (spread + cast("float", epsilon)).rsqrt()
    if isinstance(weight, fx.Node):
        scale = scale * parameter(graph, weight).double()
    shift = -middle * scale
    if isinstance(bias, fx.Node):
        shift = shift + parameter(graph, bias).double()
    return scale, shift


def _scale_outputs_(
    graph: fx.GraphModule, node: fx.Node, scale: Tensor, shift: Tensor
) -> None:
    """Make a convolution or linear layer give scale * y + shift, channel by channel."""
    inputs, kernel, *rest = _arguments(node)
    weight = parameter(graph, cast("fx.Node", kernel))
    old = rest[0] if rest else None
    bias = (
        parameter(graph, old).double()
        if isinstance(old, fx.Node)
        else torch.zeros(len(weight), dtype=torch.float64)
    )
    shape = (-1, *([1] * (weight.dim() - 1)))
    scaled = (weight.double() * scale.double().view(shape)).float()
    moved = (bias * scale.double() + shift.double()).float()
    named = str(cast("fx.Node", kernel).target)
    new_weight = add_parameter(graph, node, f"{named}_folded", scaled)
    new_bias = add_parameter(graph, node, f"{named}_bias", moved)
    node.args = (inputs, new_weight, new_bias, *rest[1:])


def _take_name_(node: fx.Node, old: fx.Node) -> None:
    """Call `node` what `old`, which is about to go, was called."""
    name = old.name
    old._rename(f"{name}_gone")  # noqa: SLF001  # a graph's names are unique
    node._rename(name)  # noqa: SLF001  # as above
