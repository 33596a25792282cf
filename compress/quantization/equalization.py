"""Equalization: channels of one tensor stretched to one range, so that a grid fits all.

Meller et al. 2019, Nagel et al. 2019: ReLU, sums and pools pass a positive factor on,
so what the operators before multiply a channel by, those after can divide it by. The
former pay nothing, as weights have a scale for each output; a depthwise reader neither.
Another reader shares one scale among its inputs, so its rounding gets worse. How far to
go is weighed for each tensor by the effect of both errors on the answer; so is where a
channel's own range should end: stretched to the common one, its rare values are cut by
the grid or by a ReLU6, as they would be by a range of its own.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, cast

import torch
from torch import Tensor, fx

from compress.context.progress import passed
from compress.int8.axes import OF_MAPS, OF_TOKENS, channel_axis
from compress.int8.capture import ATEN, add_parameter, parameter, refreshed_
from compress.int8.grids import snapped_weight, weight_scales
from compress.int8.operators import bias_of, is_weighted, rule_of, weight_of
from compress.int8.rules import STEPS
from compress.quantization.output_sensitivity import REACHES, Influences

# The most a channel is stretched; one that is always nearly 0 says nothing.
LARGEST: Final = 64.0
# How much of the way to equal ranges, on a logarithmic scale (Xiao et al. 2023).
EXTENTS: Final = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
_CLAMPS: Final = frozenset({ATEN.relu.default, ATEN.hardtanh.default})
_POOLS: Final = frozenset(
    {
        ATEN.max_pool2d.default,
        ATEN.adaptive_avg_pool2d.default,
    }
)
_AXES: Final = ({OF_MAPS}, {OF_TOKENS})


@dataclass(kw_only=True)
class Tie:
    """Tensors whose channels can only be stretched together, and what is around them.

    ceiling: where a clamp among them cuts, which no channel may be stretched to.
    """

    writers: list[fx.Node] = field(default_factory=list)
    tensors: list[fx.Node] = field(default_factory=list)
    readers: list[fx.Node] = field(default_factory=list)
    ceiling: float = float("inf")


def equalized(graph: fx.GraphModule, found: Influences) -> fx.GraphModule:
    """A copy of a canonical `graph`, stretched wherever that lowers the error.

    It computes what `graph` does, to float32's rounding, but for the rare values that a
    ReLU6 cuts of a stretched channel.
    """
    made = copy.deepcopy(graph)
    # All are weighed before any is stretched: `found` is about `graph` as it is.
    wanted = [
        (tie, _factors(made, tie, found))
        for tie in passed("equalizing channels", list(ties(made)))
    ]
    for tie, factors in wanted:
        if factors is not None:
            _stretch_(made, tie, factors)
    refreshed_(made)
    return made


def ties(graph: fx.GraphModule) -> Iterable[Tie]:
    """Every group of tensors that can be stretched, in order."""
    done: set[fx.Node] = set()
    for node in list(graph.graph.nodes):
        if node in done or not is_weighted(node):
            continue
        tie = _tie(node, done)
        if tie is not None and tie.readers:
            yield tie


def _tie(start: fx.Node, done: set[fx.Node]) -> Tie | None:
    """What is stretched along with `start`; None if something cannot be."""
    tie, waiting, able = Tie(), [start], True
    while waiting:
        node = waiting.pop()
        if node in tie.tensors:
            continue
        tie.tensors.append(node)
        if is_weighted(node):
            done.add(node)
            tie.writers.append(node)
        elif _passes_factors(node):
            waiting += [each for each in node.args[:2] if isinstance(each, fx.Node)]
            if node.target is ATEN.hardtanh.default:
                tie.ceiling = min(tie.ceiling, float(cast("float", node.args[2])))
        else:
            able = False
        for user in node.users:
            if is_weighted(user) and user.args[0] is node:
                tie.readers.append(user)
            elif _passes_factors(user):
                waiting.append(user)
            else:
                able = False
    # Where maps and tokens meet, what is a channel of one is a place of the other.
    axes = {channel_axis(each) for each in (*tie.writers, *tie.readers)}
    pooled = any(each.target in _POOLS for each in tie.tensors)
    return tie if able and axes in ([{OF_MAPS}] if pooled else _AXES) else None


def _passes_factors(node: fx.Node) -> bool:
    """Whether f(factor * x) = factor * f(x) for each channel and factor > 0."""
    if node.target is ATEN.hardtanh.default:
        # 0 … 1 is a gate's, which nothing but a product reads.
        return bool(node.args[1] == 0.0)
    if node.target is ATEN.add.Tensor:
        return rule_of(node) is not None and len(node.args) == 2  # noqa: PLR2004  # tensors
    return node.target in _CLAMPS or node.target in _POOLS


def _factors(graph: fx.GraphModule, tie: Tie, found: Influences) -> Tensor | None:
    """The factors [channels] of the least error; None if there is nothing to gain."""
    known = [
        one for node in tie.tensors if (one := found.tensors.get(node.name)) is not None
    ]
    if len({len(one.gradients) for one in known}) != 1:
        return None
    slopes = sum((one.gradients / one.images for one in known), torch.zeros(()))
    cuts = sum((one.reach / one.images for one in known), torch.zeros(()))
    sides = 1 if any(node.target in _CLAMPS for node in tie.tensors) else 2
    steps = sides * REACHES / STEPS
    reach = REACHES[(slopes[:, None] * steps.square() / 12 + cuts).argmin(dim=1)]
    matters = slopes > 0
    if not bool(matters.any()):
        return None
    top = min(float(reach[matters].amax()), tie.ceiling)
    wanted = torch.where(matters, top / reach, 1.0).clamp(1.0, LARGEST)
    best: tuple[float, Tensor | None] = (float("inf"), None)
    for extent in EXTENTS:
        factors = wanted**extent
        width = sides * float((reach * factors)[matters].amax())
        cost = (width / STEPS) ** 2 / 12 * float((slopes / factors.square()).sum())
        for reader in tie.readers:
            cost += _weight_error(graph, reader, factors, found)
        if cost < best[0]:
            best = (cost, factors if extent > 0 else None)
    return best[1]


def _weight_error(
    graph: fx.GraphModule, reader: fx.Node, factors: Tensor, found: Influences
) -> float:
    """The squared effect per image of rounding a reader's weights once divided."""
    named = str(weight_of(reader).target)
    slopes = found.weights.get(named)
    if slopes is None:
        return 0.0
    inverse = _at_inputs(graph, reader, 1 / factors)
    divided = parameter(graph, weight_of(reader)) * inverse
    error = (snapped_weight(divided, weight_scales(divided)) - divided) / inverse
    return float((error.square() * slopes).sum()) / found.images


def _at_inputs(graph: fx.GraphModule, reader: fx.Node, factors: Tensor) -> Tensor:
    """Factors of channels, shaped as a reader's weight: [outputs or 1, inputs, …]."""
    weight = parameter(graph, weight_of(reader))
    outputs, inputs = weight.shape[:2]
    if weight.dim() == 2:  # noqa: PLR2004  # a linear layer
        return factors.float()[None]
    groups = cast("int", reader.args[6]) if len(reader.args) > 6 else 1  # noqa: PLR2004  # where aten keeps them
    # Output o of group g reads the channels g * inputs … (g + 1) * inputs - 1.
    by_group = factors.float().view(groups, 1, inputs)
    return by_group.expand(groups, outputs // groups, inputs).reshape(
        outputs, inputs, 1, 1
    )


def _stretch_(graph: fx.GraphModule, tie: Tie, factors: Tensor) -> None:
    """Multiply channels where they are written, divide them where they are read."""
    for writer in tie.writers:
        weight = parameter(graph, weight_of(writer))
        shape = (-1, *([1] * (weight.dim() - 1)))
        _give_weight_(graph, writer, weight * factors.float().view(shape))
        bias = bias_of(writer)
        if bias is not None:
            stretched = parameter(graph, bias) * factors.float()
            new = add_parameter(graph, writer, f"{bias.target}_equal", stretched)
            writer.replace_input_with(bias, new)
    for reader in tie.readers:
        weight = parameter(graph, weight_of(reader))
        _give_weight_(graph, reader, weight / _at_inputs(graph, reader, factors))


def _give_weight_(graph: fx.GraphModule, node: fx.Node, values: Tensor) -> None:
    """Let `node` read other weights; the old ones may be read elsewhere."""
    old = weight_of(node)
    new = add_parameter(graph, node, f"{old.target}_equal", values.contiguous())
    node.replace_input_with(old, new)
