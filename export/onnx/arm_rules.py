"""A lint of INT8 ONNX files for ARM: weights of -128, whose products overflow.

ARM cores without dot products add two products of int8 numbers within 16 bits before
they widen the sum. Two times -128 times -128 is 32,768, one more than fits, and ONNX
Runtime up to 1.29 lets it wrap around on a Cortex-A72 (onnxruntime #31573). With
weights of -127 to 127 every sum of two fits, whatever the activations are.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from runtime.errors import InputRejectedError, one_line

_DEQUANTIZE: Final = "DequantizeLinear"
# Operators that multiply weights, and the places where these may stand.
_WEIGHTED: Final = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "QLinearConv": (3,),
    "QLinearMatMul": (0, 3),
}
_LOWEST: Final = -128


def overflowing(model: onnx.ModelProto) -> tuple[str, ...]:
    """Operators of a model with a weight of -128 in int8, by name."""
    stored = {each.name: each for each in model.graph.initializer}
    read_from = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == _DEQUANTIZE
    }
    return tuple(
        node.name or node.output[0]
        for node in model.graph.node
        for name in _weights_of(node)
        if _reaches_lowest(stored.get(read_from.get(name, name)))
    )


def refuse_overflow(model: onnx.ModelProto, *, name: str) -> None:
    """Let no file for ARM be written that overflows there: an InputRejectedError."""
    if found := overflowing(model):
        raise InputRejectedError(f"export: {name} for ARM: {_sentence(found)}")


def overflow_of_file(path: Path) -> str | None:
    """What there is to say against the ONNX file at `path` on ARM, in one sentence.

    InputRejectedError if it cannot be read; None if nothing speaks against it.
    """
    try:
        found = overflowing(onnx.load(path, load_external_data=False))
    except Exception as error:  # protobuf's errors and numpy's share no class
        raise InputRejectedError(
            f"{path}: is no ONNX model that can be read: {one_line(error)}; export it "
            "again"
        ) from error
    return f"{path.name}: {_sentence(found)}" if found else None


def _weights_of(node: onnx.NodeProto) -> Iterator[str]:
    """Names of what a node multiplies, constants or not."""
    for place in _WEIGHTED.get(node.op_type, ()):
        if place < len(node.input):
            yield node.input[place]


def _reaches_lowest(tensor: onnx.TensorProto | None) -> bool:
    """Whether a constant is int8 and holds a -128."""
    if tensor is None or tensor.data_type != onnx.TensorProto.INT8:
        return False
    if onnx.external_data_helper.uses_external_data(tensor):
        raise ValueError("its weights lie in another file; save it as one file")
    values = onnx.numpy_helper.to_array(tensor)
    return bool((np.asarray(values) == _LOWEST).any())


def _sentence(found: tuple[str, ...]) -> str:
    """What is wrong, where, and what to do."""
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"{found[0]}{more} has weights of -128, whose sums overflow on ARM cores "
        "without dot products (Cortex-A53, A72) in ONNX Runtime before 1.30; quantize "
        "weights to -127…127, or run it with 1.30 or later only"
    )
