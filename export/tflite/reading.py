"""What a TFLite file computes, and how much of it in INT8, read off the file itself."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import InputRejectedError, MissingDependencyError
from runtime.requirements import pip_line

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One step of a file: its builtin operator, what it writes, and its products.

    int8: whether it computes in integers; constants that are only unpacked do not.
    """

    name: str
    output: str
    int8: bool
    macs: int


def operators(path: Path) -> tuple[Operator, ...]:
    """List the operators of a TFLite file, in the order in which they run."""
    try:
        from export.tflite import flatbuffer
    except ImportError as error:
        raise MissingDependencyError(
            f"{path}: needs {error.name}, which is not installed; "
            f"run: {pip_line('tflite')}"
        ) from error
    try:
        model = flatbuffer.read(path.read_bytes())
        graph = flatbuffer.graph_of(model)
        names = flatbuffer.NAMES
        return tuple(
            Operator(
                name=names[flatbuffer.kind_of(model, each)],
                output=graph.tensors[each.outputs[0]].name.decode(),
                int8=_is_int8(graph, each, flatbuffer.TYPES.INT8),
                macs=_macs(graph, each, names[flatbuffer.kind_of(model, each)]),
            )
            for each in graph.operators
        )
    except InputRejectedError:
        raise
    except Exception as error:  # whatever a broken offset leads to
        raise InputRejectedError(
            f"{path}: not a whole TFLite model; export or copy it again"
        ) from error


def int8_macs_fraction(path: Path) -> float:
    """Which share of a file's multiplications run on int8 numbers."""
    found = operators(path)
    total = sum(each.macs for each in found)
    return sum(each.macs for each in found if each.int8) / max(total, 1)


def _is_int8(graph: Any, operator: Any, int8: int) -> bool:  # noqa: ANN401  # the schema's classes have no types
    """Whether all that an operator reads first and writes is int8."""
    places = [*operator.inputs[:1], *operator.outputs]
    return all(graph.tensors[place].type == int8 for place in places)


def _macs(graph: Any, operator: Any, name: str) -> int:  # noqa: ANN401  # as above
    """Multiply-accumulates of one inference; 0 for what has no weights."""

    def shape(place: int) -> "Sequence[int]":
        return [int(each) for each in graph.tensors[place].shape]

    if name in {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"}:
        weight, result = shape(operator.inputs[1]), shape(operator.outputs[0])
        # Weights are [outputs, h, w, inputs], depthwise ones [1, h, w, outputs].
        each = weight[1:3] if name == "DEPTHWISE_CONV_2D" else weight[1:]
        return math.prod(result) * math.prod(each)
    if name == "FULLY_CONNECTED":
        return math.prod(shape(operator.outputs[0])) * shape(operator.inputs[1])[-1]
    if name == "BATCH_MATMUL":
        return math.prod(shape(operator.outputs[0])) * shape(operator.inputs[0])[-1]
    return 0
