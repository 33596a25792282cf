"""Weights in few bits behind a DEQUANTIZE, which a runtime undoes when it loads."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from export.tflite.flatbuffer import (
    OPERATORS,
    TYPES,
    Model,
    add_tensor,
    constant,
    graph_of,
    kind_of,
    operator,
)

Weight = npt.NDArray[np.float32]
Steps = npt.NDArray[np.int8]

# Operators with a weight as their second input, and the axis of its outputs.
WEIGHTED: Final = {
    OPERATORS.CONV_2D: 0,
    OPERATORS.FULLY_CONNECTED: 0,
    OPERATORS.DEPTHWISE_CONV_2D: 3,
}
_HIGH: Final = 127


def halve_weights_(model: Model) -> None:
    """Store the float32 weights in float16."""

    def stored(tensor: object, weight: Weight, axis: int) -> int:
        del axis
        return add_tensor(
            model,
            name=tensor.name + b"_f16",  # type: ignore[attr-defined]
            shape=weight.shape,
            dtype=TYPES.FLOAT16,
            values=weight.astype(np.float16),
        )

    _replace_weights_(model, stored, version=3)


def pack_weights_(
    model: Model, known: Sequence[tuple[Steps, Weight]] | None = None
) -> None:
    """Store float32 weights as int8 with a scale for each output.

    known: pairs of steps [outputs, …] and scales [outputs]; then only the weights that
    are exactly their product are stored so, and nothing is lost. Without, every weight
    is rounded, its largest to 127 steps.
    """

    def stored(tensor: object, weight: Weight, axis: int) -> int | None:
        pair = _rounded(weight, axis) if known is None else _found(weight, known)
        if pair is None:
            return None
        steps, scales = pair
        grid = schema.QuantizationParametersT()
        grid.scale, grid.quantizedDimension = scales, axis
        grid.zeroPoint = np.zeros(len(scales), np.int64)
        return add_tensor(
            model,
            name=tensor.name + b"_int8",  # type: ignore[attr-defined]
            shape=weight.shape,
            dtype=TYPES.INT8,
            grid=grid,
            values=steps,
        )

    _replace_weights_(model, stored, version=5)


def _replace_weights_(
    model: Model,
    stored: Callable[[object, Weight, int], int | None],
    *,
    version: int,
) -> None:
    """Put a DEQUANTIZE of what `stored` adds in the place of each float32 weight."""
    graph = graph_of(model)
    unpacked = []
    for place, axis in dict(_weights(model)).items():
        tensor = graph.tensors[place]
        weight = constant(model, tensor)
        if weight is None or weight.dtype != np.float32:
            continue
        packed = stored(tensor, weight.astype(np.float32), axis)
        if packed is None:
            continue
        model.buffers.append(schema.BufferT())
        tensor.buffer = len(model.buffers) - 1
        unpacked.append(
            operator(
                model,
                OPERATORS.DEQUANTIZE,
                version=version,
                source=packed,
                result=place,
            )
        )
    graph.operators[:0] = unpacked
    drop_unread_buffers_(model)


def drop_unread_buffers_(model: Model) -> None:
    """Empty the buffers that no tensor and no metadata refers to any more."""
    read = {tensor.buffer for tensor in graph_of(model).tensors}
    read |= {entry.buffer for entry in model.metadata or []}
    for place, buffer in enumerate(model.buffers):
        if place not in read:
            buffer.data = None


def _weights(model: Model) -> Iterator[tuple[int, int]]:
    """The tensors that weighted operators multiply by, each with its outputs' axis."""
    for each in graph_of(model).operators:
        kind = kind_of(model, each)
        if kind in WEIGHTED:
            yield int(each.inputs[1]), WEIGHTED[kind]


def _rounded(weight: Weight, axis: int) -> tuple[Steps, Weight]:
    """Steps and scales of any weight; a channel of zeros has the scale 1."""
    others = tuple(each for each in range(weight.ndim) if each != axis)
    largest = np.abs(weight).max(axis=others)
    scales = np.where(largest > 0, largest / _HIGH, 1).astype(np.float32)
    shape = [-1 if each == axis else 1 for each in range(weight.ndim)]
    steps = np.rint(weight / scales.reshape(shape)).clip(-_HIGH, _HIGH)
    return steps.astype(np.int8), scales


def _found(
    weight: Weight, known: Sequence[tuple[Steps, Weight]]
) -> tuple[Steps, Weight] | None:
    """The known steps and scales that a weight [outputs, inputs] is the product of."""
    for steps, scales in known:
        if steps.shape == weight.shape and np.array_equal(
            steps * scales[:, None], weight
        ):
            return steps, scales
    return None
