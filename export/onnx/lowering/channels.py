"""Channels filled up with zeros to the multiples that x86 kernels are written for.

MLAS (ONNX Runtime) convolves codes without copying them out first only where depthwise
groups are a multiple of 16 and other convolutions read a multiple of 4 channels.
Channels of zeros that are read with weights of zero change no sum.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx_ir as ir

from export.onnx.lowering.graph import (
    QUANTIZE,
    Numbers,
    QParams,
    attribute,
    constant,
    dequantize,
    dequantizer,
    given,
    graph_of,
    grid_of,
    insert,
    known,
    layer_of,
    needed,
    nodes_of,
    readers,
)

_DEPTHWISE: Final = 16
_DENSE: Final = 4
# Fewer filters are not taken by that kernel either.
_LEAST_FILTERS: Final = 16
# More work than this in the dense layers around costs what the depthwise one gains.
_MOST_MORE: Final = 1.34
_CHANNELWISE: Final = frozenset(
    {
        *(QUANTIZE, "DequantizeLinear", "Relu", "Clip", "Sigmoid", "HardSigmoid"),
        *("GlobalAveragePool", "MaxPool", "AveragePool", "LeakyRelu"),
    }
)


class _OutOfReachError(Exception):
    """Channels lead to where they cannot be filled up."""


@dataclass
class _Region:
    """Layers around tensors of the same channels: what writes, reads, or does both."""

    writers: dict[ir.Node, None] = field(default_factory=dict)
    readers: dict[ir.Node, None] = field(default_factory=dict)
    depthwise: dict[ir.Node, None] = field(default_factory=dict)


def depthwise_widths_(graph: ir.Graph) -> None:
    """Fill up the channels of depthwise convolutions to a multiple of 16."""
    done: set[ir.Node] = set()
    for node in nodes_of(graph, "Conv"):
        channels = _depthwise(node)
        if node in done or channels is None or channels % _DEPTHWISE == 0:
            continue
        wanted = -(-channels // _DEPTHWISE) * _DEPTHWISE
        if wanted > channels * _MOST_MORE:
            continue
        try:
            region = _region(node, channels)
        except _OutOfReachError:
            continue
        done |= set(region.depthwise)
        for each in (*region.writers, *region.depthwise):
            _fill_(each, axis=0, more=wanted - channels)
        for each in region.readers:
            _fill_(each, axis=1, more=wanted - channels)
        for each in region.depthwise:
            each.attributes["group"] = ir.AttrInt64("group", wanted)


def _depthwise(node: ir.Node) -> int | None:
    """The channels of an INT8 depthwise convolution of one filter each."""
    weight = dequantizer(given(node, 1))
    if weight is None or dequantizer(needed(node)) is None:
        return None
    outputs, inputs = known(needed(weight)).shape[:2]
    group = int(attribute(node, "group", 1))
    return group if inputs == 1 and group == outputs and group > 1 else None


def _region(start: ir.Node, channels: int) -> _Region:
    """Everything that the channels of a depthwise convolution touch."""
    region = _Region(depthwise={start: None})
    seen: set[ir.Value] = set()
    todo = [needed(start), start.outputs[0]]
    while todo:
        value = todo.pop()
        if value in seen:
            continue
        seen.add(value)
        writer = value.producer()
        if writer is None or value.is_graph_output():
            raise _OutOfReachError
        if value.shape is not None and value.shape[1] != channels:
            raise _OutOfReachError
        todo += _step(writer, region, writes=True)
        for node in readers(value):
            todo += _step(node, region, writes=False)
    return region


def _step(node: ir.Node, region: _Region, *, writes: bool) -> Iterable[ir.Value]:
    """Take a node into the region; give the tensors that have the same channels."""
    if node.op_type in _CHANNELWISE:
        return needed(node), node.outputs[0]
    if node.op_type in {"Add", "Mul"}:
        return needed(node), needed(node, 1), node.outputs[0]
    weight = dequantizer(given(node, 1))
    if node.op_type != "Conv" or weight is None:
        raise _OutOfReachError
    if _depthwise(node) is not None:
        region.depthwise[node] = None
        return needed(node), node.outputs[0]
    if attribute(node, "group", 1) != 1:
        raise _OutOfReachError
    (region.writers if writes else region.readers)[node] = None
    return ()


def _filled(values: Numbers, *, axis: int, more: int) -> Numbers:
    """More entries of zero at the end of an axis."""
    shape = [(0, more if place == axis else 0) for place in range(values.ndim)]
    return np.pad(values, shape)


def _fill_(node: ir.Node, *, axis: int, more: int) -> None:
    """Give a convolution more outputs (axis 0) or inputs (axis 1), all zero."""
    for place in (1, 2) if axis == 0 else (1,):
        reader = dequantizer(given(node, place))
        if reader is None:
            continue
        grid, codes = grid_of(reader), known(needed(reader))
        if axis == 0 and grid.scale.shape:
            # ONNX Runtime checks that bias scale = input scale x weight scale.
            scale = np.pad(grid.scale, (0, more), mode="edge")
            grid = QParams(scale, _filled(grid.zero, axis=0, more=more))
        stored = constant(graph_of(node), _filled(codes, axis=axis, more=more))
        real = dequantize(node, stored, grid, layer=layer_of(node))
        node.replace_input_with(place, real)


def image_channels_(graph: ir.Graph) -> None:
    """Give an INT8 image a fourth channel, which the first convolution ignores."""
    for node in nodes_of(graph, "Conv"):
        weight, source = dequantizer(given(node, 1)), dequantizer(needed(node))
        if weight is None or source is None or attribute(node, "group", 1) != 1:
            continue
        codes = known(needed(weight))
        quantizer = needed(source).producer()
        if (
            quantizer is None
            or quantizer.op_type != QUANTIZE
            or not needed(quantizer).is_graph_input()
            or codes.shape[1] % _DENSE == 0
            or codes.shape[0] % _DENSE
            or codes.shape[0] < _LEAST_FILTERS
        ):
            continue
        more = -codes.shape[1] % _DENSE
        grid = grid_of(source)
        ends = np.array([0, 0, 0, 0, 0, more, 0, 0], np.int64)
        layer = layer_of(node)
        parts = (constant(graph, ends), constant(graph, grid.zero))
        wider = insert(node, "Pad", (needed(source), *parts), layer=layer)
        node.replace_input_with(0, dequantize(node, wider, grid, layer=layer))
        _fill_(node, axis=1, more=more)
