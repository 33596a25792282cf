"""Batch normalization in inference is a scale and a shift of each channel: folded."""

from typing import Any, Final, cast

import torch
from torch import Tensor, fx

from compress.int8.axes import shape_of
from compress.int8.capture import ATEN, parameter
from compress.int8.folding import (
    calls,
    channelwise,
    layer_before,
    scale_inputs_,
    scale_outputs_,
    take_name_,
)

BATCH_NORM: Final = ATEN._native_batch_norm_legit_no_training.default  # noqa: SLF001  # torch's name


def fold_batch_norm_(graph: fx.GraphModule) -> None:
    """Fold batch normalization into the layer before it (Jacob et al. 2018).

    Of features [n, c] and tokens as of maps: the channels, which lie along axis 1, are
    looked for behind reshapes and transposes. Where no layer before can take it, a
    linear layer after it may; else, as in pre-activation networks, it becomes a
    depthwise 1x1 convolution.
    """
    for node in calls(graph, BATCH_NORM):
        (result,) = node.users
        source = cast("fx.Node", node.args[0])
        scale, shift = _affine(graph, node)
        layer = layer_normalized(node)
        if layer is not None:
            scale_outputs_(graph, layer, scale, shift)
            result.replace_all_uses_with(source)
            continue
        after = _linear_after(result) if _is_of_features(source) else None
        if after is not None:
            scale_inputs_(graph, after, scale, shift)
            result.replace_all_uses_with(source)
            continue
        made = channelwise(graph, node, source, scale, shift)
        made.meta = dict(result.meta)
        result.replace_all_uses_with(made)
        take_name_(made, node)


def layer_normalized(node: fx.Node) -> fx.Node | None:
    """The layer that a batch normalization can be folded into."""
    source = cast("fx.Node", node.args[0])
    shape = shape_of(source)
    if shape is None or len(source.users) != 1:
        return None
    return layer_before(source, 1 - len(shape))


def _is_of_features(node: fx.Node) -> bool:
    """Whether `node` gives [n, channels], as linear layers read it."""
    return len(shape_of(node) or []) == 2  # noqa: PLR2004  # see above


def _linear_after(node: fx.Node) -> fx.Node | None:
    """The linear layer that alone reads `node`."""
    (reader, *others) = node.users
    return reader if reader.target is ATEN.linear.default and not others else None


def _affine(graph: fx.GraphModule, node: fx.Node) -> tuple[Tensor, Tensor]:
    """The scale and shift [channels] that a batch normalization comes to."""
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
    return torch.as_tensor(scale), torch.as_tensor(shift)


def _arguments(node: fx.Node) -> tuple[Any, ...]:
    """What an operator is called with; its schema says of which types."""
    return node.args
