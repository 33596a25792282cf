"""A matrix product as an ONNX file, written without onnx: protobuf's wire format."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

# TensorProto.DataType of onnx/onnx.proto.
_TYPES: Final = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6}
_IR_VERSION: Final = 8
_OPSET: Final = 13


def matrix_product(
    operator: str, left: npt.DTypeLike, right: npt.NDArray[np.generic], rows: int
) -> bytes:
    """A model `y = operator(x, right)` of x [rows, k] and the constant right [k, n].

    operator: `MatMul` or `MatMulInteger`; left: the type of x.
    """
    inner, columns = right.shape
    kind = "int32" if operator == "MatMulInteger" else "float32"
    node = _text(1, "x") + _text(1, "w") + _text(2, "y") + _text(4, operator)
    weight = b"".join(_number(1, size) for size in right.shape)
    weight += _number(2, _TYPES[right.dtype.name]) + _text(8, "w")
    weight += _part(9, right.tobytes())
    graph = _part(1, node) + _text(2, "product") + _part(5, weight)
    graph += _part(11, _value("x", np.dtype(left).name, (rows, inner)))
    graph += _part(12, _value("y", kind, (rows, columns)))
    opset = _text(1, "") + _number(2, _OPSET)
    return _number(1, _IR_VERSION) + _part(7, graph) + _part(8, opset)


def _value(name: str, kind: str, shape: Sequence[int]) -> bytes:
    """A ValueInfoProto: a tensor's name, type and shape."""
    dims = b"".join(_part(1, _number(1, size)) for size in shape)
    tensor = _number(1, _TYPES[kind]) + _part(2, dims)
    return _text(1, name) + _part(2, _part(1, tensor))


def _number(field: int, value: int) -> bytes:
    """A field that is a number."""
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    """A field that is a text."""
    return _part(field, value.encode())


def _part(field: int, value: bytes) -> bytes:
    """A field that has a length: bytes, a text, a message."""
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first."""
    found = bytearray()
    while value > 0x7F:  # noqa: PLR2004  # seven bits
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
