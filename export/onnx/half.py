"""Float numbers of an ONNX file in half precision, as strongly typed runtimes want it.

TensorRT computes a network as its file is typed from version 11 on. So what is float,
around INT8 or throughout, has to be float16 in the file; both ends stay float32, so
that nobody has to feed it otherwise.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# The first opset whose QuantizeLinear reads float16, and its version of the format.
OPSET: Final = 19
_IR_VERSION: Final = 9
_FLOAT, _HALF = TensorProto.FLOAT, TensorProto.FLOAT16
# What reads float32 whatever it computes: the region and the scales of a Resize.
_KEPT: Final = {"Resize": (1, 2)}
_LARGEST: Final = float(np.finfo(np.float16).max)


def in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a float32 model that computes in float16 between its two ends.

    Numbers beyond float16's range are cut to it.
    """
    made = _retyped(model, _FLOAT, _HALF)
    graph = made.graph
    for end in graph.input:
        _rename_(graph, end.name, f"{end.name}/half")
        cast = helper.make_node(
            "Cast", [end.name], [f"{end.name}/half"], name=f"{end.name}/Cast", to=_HALF
        )
        graph.node.insert(0, cast)
    for end in graph.output:
        _rename_(graph, end.name, f"{end.name}/half")
        graph.node.append(
            helper.make_node(
                "Cast",
                [f"{end.name}/half"],
                [end.name],
                name=f"{end.name}/Cast",
                to=_FLOAT,
            )
        )
    for opset in made.opset_import:
        if opset.domain in {"", "ai.onnx"}:
            opset.version = max(opset.version, OPSET)
    made.ir_version = max(made.ir_version, _IR_VERSION)
    return made


def in_float(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a model with the same numbers in float32 where they were float16."""
    return _retyped(model, _HALF, _FLOAT)


def _retyped(model: onnx.ModelProto, old: int, new: int) -> onnx.ModelProto:
    """A copy whose constants and casts of one kind of float are of the other."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    kept = {
        node.input[place]
        for node in graph.node
        for place in _KEPT.get(node.op_type, ())
        if place < len(node.input)
    }
    for tensor in _constants(graph):
        if tensor.data_type == old and tensor.name not in kept:
            kind = helper.tensor_dtype_to_np_dtype(new)
            values = np.clip(numpy_helper.to_array(tensor), -_LARGEST, _LARGEST)
            whole = numpy_helper.from_array(values.astype(kind), tensor.name)
            tensor.CopyFrom(whole)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == old:
                attribute.i = new
    del graph.value_info[:]
    return made


def _constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every number that a graph holds."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t


def _rename_(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Call a tensor within a graph otherwise."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
