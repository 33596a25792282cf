"""TFLite's file as objects to edit, and back to bytes that hold each list once."""

from typing import Any, Final

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

OPERATORS: Final = schema.BuiltinOperator
TYPES: Final = schema.TensorType
NAMES: Final = {
    number: name for name, number in vars(OPERATORS).items() if isinstance(number, int)
}
# The file identifier of schema version 3 (tensorflow/compiler/mlir/lite/schema).
_MARK: Final = b"TFL3"
_STORED: Final = {
    TYPES.FLOAT32: np.float32,
    TYPES.INT8: np.int8,
    TYPES.INT32: np.int32,
}
# The generated classes carry no types.
Model = Any
Operator = Any
Tensor = Any


def read(content: bytes) -> Model:
    """Open a file's bytes."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def written(model: Model) -> bytes:
    """Give the file's bytes; the same for the same model."""
    builder = _Sharing(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=_MARK)
    return bytes(builder.Output())


def graph_of(model: Model) -> Any:  # noqa: ANN401  # see Model
    """The one graph that an image classifier consists of."""
    (graph,) = model.subgraphs
    return graph


def kind_of(model: Model, operator: Operator) -> int:
    """Which builtin operator it is, one of OPERATORS."""
    code = model.operatorCodes[operator.opcodeIndex]
    # Files from before 2020 have only the older field, which ends at 127.
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def constant(model: Model, tensor: Tensor) -> npt.NDArray[np.generic] | None:
    """The numbers that a tensor holds, in its shape; None where it is no constant."""
    stored = _STORED.get(tensor.type)
    content = model.buffers[tensor.buffer].data
    if stored is None or content is None or len(content) == 0:
        return None
    found: npt.NDArray[np.generic] = np.frombuffer(bytes(content), stored)
    return found.reshape(tuple(tensor.shape))


def add_tensor(  # noqa: PLR0913  # what a tensor consists of
    model: Model,
    *,
    name: bytes,
    shape: npt.ArrayLike,
    dtype: int,
    grid: Any = None,  # noqa: ANN401  # see Model
    values: npt.NDArray[np.generic] | None = None,
) -> int:
    """Add a tensor, a constant where there are values; give its number."""
    buffer = schema.BufferT()
    if values is not None:
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.name, tensor.shape = name, np.asarray(shape, np.int32)
    tensor.type, tensor.buffer = dtype, len(model.buffers) - 1
    tensor.quantization, tensor.hasRank = grid, True
    tensors = graph_of(model).tensors
    tensors.append(tensor)
    return len(tensors) - 1


def operator(
    model: Model, kind: int, *, version: int, source: int, result: int
) -> Operator:
    """A QUANTIZE or DEQUANTIZE of one tensor into another."""
    made = schema.OperatorT()
    made.opcodeIndex = _code(model, kind, version)
    made.inputs = np.asarray([source], np.int32)
    made.outputs = np.asarray([result], np.int32)
    options = {
        OPERATORS.QUANTIZE: ("QuantizeOptions", schema.QuantizeOptionsT),
        OPERATORS.DEQUANTIZE: ("DequantizeOptions", schema.DequantizeOptionsT),
    }
    name, kind_of_options = options[kind]
    made.builtinOptionsType = getattr(schema.BuiltinOptions, name)
    made.builtinOptions = kind_of_options()
    return made


def _code(model: Model, kind: int, version: int) -> int:
    """The place of a builtin operator in the file's list of those it uses."""
    for place, code in enumerate(model.operatorCodes):
        if code.builtinCode == kind:
            code.version = max(code.version, version)
            return place
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


class _Sharing(flatbuffers.Builder):  # type: ignore[misc]  # has no types
    """Writes equal lists of numbers once.

    Each of a network's weights has a scale and a zero point, 8 bytes of nothing, for
    every output, so they are a tenth of a small file.
    """

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._kept: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: npt.NDArray[np.generic]) -> int:  # noqa: N802  # flatbuffers' name
        """Write a list of numbers, or refer to an equal one."""
        key = (x.dtype.str, x.tobytes())
        if key not in self._kept:
            self._kept[key] = int(super().CreateNumpyVector(x))
        return self._kept[key]
