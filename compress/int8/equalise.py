"""Equalisation: channels of one tensor stretched to one range, so that a grid fits all.

Meller et al. 2019, Nagel et al. 2019: a ReLU passes a positive factor on, so that what
one layer multiplies a channel by, the next can divide it by. A depthwise convolution
pays nothing for it, as its weights have a scale for each channel; another one shares
its outputs' scales among all channels, so there half of it, on a logarithmic scale,
is left to the weights (Xiao et al. 2023, SmoothQuant).
"""

from collections.abc import Iterable
from typing import Final, cast

import torch
from torch import Tensor, fx

from compress.int8.calibrate import Batches, Watch
from compress.int8.capture import ATEN, add_parameter, parameter, refreshed_
from compress.quantizer import bias_of, is_fused, rule_of, weight_of

# The most a channel is stretched; one that is always nearly 0 says nothing.
LARGEST: Final = 64.0
_POSITIVE: Final = frozenset({ATEN.relu.default, ATEN.hardtanh.default})


def equalise_(graph: fx.GraphModule, images: Batches, *, share: float = 0.5) -> int:
    """Equalise a canonical `graph` in place; give the number of tensors.

    images: float32 [n, 3, size, size] batches. `share`: how much of a channel's factor
    a convolution over all channels takes over, on a logarithmic scale.
    """
    pairs = list(_pairs(graph))
    largest = _largest(graph, [node for _, node, _ in pairs], images)
    for writer, node, readers in pairs:
        seen = largest[node.name]
        factors = (seen.max() / seen.clamp(min=1e-9)).clamp(1.0, LARGEST)
        if not all(_is_depthwise(graph, reader) for reader in readers):
            factors = factors**share
        _stretch_(graph, writer, readers, factors)
    refreshed_(graph)
    return len(pairs)


def _pairs(
    graph: fx.GraphModule,
) -> Iterable[tuple[fx.Node, fx.Node, tuple[fx.Node, ...]]]:
    """Each weighted operator, the tensor it leads to, and the convolutions after."""
    for writer in graph.graph.nodes:
        rule = rule_of(writer)
        if rule is None or not rule.weights:
            continue
        node = writer
        if is_fused(writer):
            (node,) = writer.users
            if node.target not in _POSITIVE or _clamps_low(node):
                continue
        readers = tuple(node.users)
        if readers and all(
            reader.target is ATEN.conv2d.default and reader.args[0] is node
            for reader in readers
        ):
            yield writer, node, readers


def _clamps_low(node: fx.Node) -> bool:
    """Whether a clamp is another one than ReLU and ReLU6, such as a gate's."""
    return node.target is ATEN.hardtanh.default and node.args[1:] != (0.0, 6.0)


def _largest(
    graph: fx.GraphModule, nodes: list[fx.Node], images: Batches
) -> dict[str, Tensor]:
    """The mean over images of each channel's largest magnitude, [channels]."""
    sums: dict[str, Tensor] = {}
    count = 0

    def show(name: str, values: Tensor) -> None:
        found = values.abs().flatten(2).amax(dim=2).double().sum(dim=0)
        sums[name] = sums.get(name, torch.zeros_like(found)) + found

    watch = Watch(graph, {node.name: node.name for node in nodes}, show)
    with torch.inference_mode():
        for batch in images():
            watch.run(batch)
            count += len(batch)
    return {name: (total / count).clone() for name, total in sums.items()}


def _is_depthwise(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether each output of a convolution reads one channel only."""
    return parameter(graph, weight_of(node)).shape[1] == 1


def _stretch_(
    graph: fx.GraphModule,
    writer: fx.Node,
    readers: tuple[fx.Node, ...],
    factors: Tensor,
) -> None:
    """Multiply a tensor's channels where it is written, divide where it is read."""
    weight = parameter(graph, weight_of(writer))
    shape = (-1, *([1] * (weight.dim() - 1)))
    _give_weight_(graph, writer, weight * factors.float().view(shape))
    bias = bias_of(writer)
    if bias is not None:
        stretched = parameter(graph, bias) * factors.float()
        new = add_parameter(graph, writer, f"{bias.target}_equal", stretched)
        writer.replace_input_with(bias, new)
    for reader in readers:
        weight = parameter(graph, weight_of(reader))
        outputs, inputs = weight.shape[:2]
        groups = cast("int", reader.args[6]) if len(reader.args) > 6 else 1  # noqa: PLR2004  # where aten keeps them
        # Output o of group g reads the channels g * inputs … (g + 1) * inputs - 1.
        by_group = factors.float().view(groups, 1, inputs)
        divided = weight.view(groups, outputs // groups, inputs, -1) / by_group[..., None]
        _give_weight_(graph, reader, divided.reshape(weight.shape))


def _give_weight_(graph: fx.GraphModule, node: fx.Node, values: Tensor) -> None:
    """Let `node` read other weights; the old ones may be read elsewhere."""
    old = weight_of(node)
    new = add_parameter(graph, node, f"{old.target}_equal", values.contiguous())
    node.replace_input_with(old, new)
