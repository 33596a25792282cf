"""A small INT8 model all of whose weights are one code, for the rule of ARM cores."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 64


def convolution(lowest: int) -> onnx.ModelProto:
    """A convolution in Q and DQ whose weights all are `lowest`."""
    constants = {
        "weight": np.full((8, CHANNELS, 1, 1), lowest, np.int8),
        "scales": np.full(8, 0.01, np.float32),
        "zeros": np.zeros(8, np.int8),
        "scale": np.float32(1.0),
        "zero": np.int8(0),
        "wide": np.float32(200.0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["real"]),
        helper.make_node(
            "DequantizeLinear", ["weight", "scales", "zeros"], ["weights"], axis=0
        ),
        helper.make_node("Conv", ["real", "weights"], ["sums"], name="conv"),
        helper.make_node("QuantizeLinear", ["sums", "wide", "zero"], ["result"]),
        helper.make_node("DequantizeLinear", ["result", "wide", "zero"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"], axis=1),
    ]
    shape = [1, CHANNELS, 4, 4]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)
