"""A matrix product as a TFLite file: one fully connected layer, without TensorFlow.

Field numbers are those of tensorflow/lite/schema/schema.fbs, version 3.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.flat_writing import Scalar, Table, flat_file

_TYPES: Final = {"float32": 0, "int8": 9}
_FULLY_CONNECTED: Final = 9
_OPTIONS: Final = 8  # FullyConnectedOptions in the union of options
_VERSION: Final = {"float32": 1, "int8": 4}


def fully_connected(weight: npt.NDArray[np.generic], rows: int, scale: float) -> bytes:
    """A model y = x weight^T of x [rows, k] and the constant `weight` [n, k].

    In int8 all zero points are 0, scales are 1 but for y's, which is `scale`.
    """
    kind = weight.dtype.name
    outputs, inner = weight.shape
    tensors: list[Table] = [
        _tensor("x", kind, (rows, inner), buffer=0, scale=1.0),
        _tensor("w", kind, (outputs, inner), buffer=1, scale=1.0),
        _tensor("y", kind, (rows, outputs), buffer=0, scale=scale),
    ]
    operator: Table = {
        0: Scalar("I", 0),
        1: np.array([0, 1, -1], np.int32),  # no bias
        2: np.array([2], np.int32),
        3: Scalar("B", _OPTIONS),
        4: {0: Scalar("b", 0)},
    }
    graph: Table = {
        0: tensors,
        1: np.array([0], np.int32),
        2: np.array([2], np.int32),
        3: [operator],
    }
    code: Table = {
        0: Scalar("b", _FULLY_CONNECTED),
        2: Scalar("i", _VERSION[kind]),
        3: Scalar("i", _FULLY_CONNECTED),
    }
    data = np.frombuffer(np.ascontiguousarray(weight).tobytes(), np.uint8)
    model: Table = {
        0: Scalar("I", 3),
        1: [code],
        2: [graph],
        4: [{}, {0: data}],
    }
    return flat_file(model, b"TFL3")


def _tensor(
    name: str, kind: str, shape: tuple[int, ...], *, buffer: int, scale: float
) -> Table:
    """A Tensor."""
    found: dict[int, object] = {
        0: np.array(shape, np.int32),
        1: Scalar("b", _TYPES[kind]),
        2: Scalar("I", buffer),
        3: name,
    }
    if kind == "int8":
        found[4] = {2: np.array([scale], np.float32), 3: np.array([0], np.int64)}
    return found  # type: ignore[return-value]
