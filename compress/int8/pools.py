"""Averages over windows as convolutions, which every runtime rounds alike."""

from typing import Any, Final, cast

import torch
from torch import fx

from compress.int8.capture import ATEN, add_parameter

# Stride, padding, rounding up, counting of padding, divisor: torch's defaults.
_DEFAULTS: Final[tuple[Any, ...]] = (None, [0, 0], False, True, None)


def averages_are_convolutions_(graph: fx.GraphModule) -> None:
    """Write an average over windows as a depthwise convolution with equal weights.

    A quarter of four steps is a tie in one case of four, and runtimes round the ties of
    their pools in different ways; those of convolutions all to even. Left alone are
    windows of different sizes, at edges that are not counted or cut windows short.
    """
    for node in list(graph.graph.nodes):
        if node.target is not ATEN.avg_pool2d.default:
            continue
        source, window, *given = node.args
        rest: tuple[Any, ...] = (*given, *_DEFAULTS[len(given) :])
        stride, padding, ceil, counted, divisor = rest
        kernel, padding = _pair(window), _pair(padding)
        if ceil or not (counted or padding == [0, 0]):
            continue
        channels = node.meta["val"].shape[1]
        share = torch.full(
            (channels, 1, *kernel), 1 / (divisor or kernel[0] * kernel[1])
        )
        weight = add_parameter(graph, node, f"{node.name}_share", share)
        node.target = ATEN.conv2d.default
        node.args = (
            source,
            weight,
            None,
            _pair(stride) if stride else kernel,
            padding,
            [1, 1],
            channels,
        )


def _pair(value: object) -> list[int]:
    """A number for each axis of a map."""
    if isinstance(value, int):
        return [value, value]
    pair = [int(each) for each in cast("list[int]", value)]
    return pair * 2 if len(pair) == 1 else pair
