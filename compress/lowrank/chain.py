"""A layer, or what takes its place, alone in an ONNX model: something to be timed."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from compress.lowrank.layers import weight_of
from export.onnx.graph import INPUT, OUTPUT
from export.onnx.operators import OPSET

_MATRIX_AXES: Final = 2


def chain(layers: Sequence[nn.Module], shape: tuple[int, ...]) -> onnx.ModelProto:
    """Linear layers or convolutions, one after the other, given float32 of `shape`.

    They are written as the exporter writes them inside a network. It would take seconds
    for each; there are dozens to be timed.
    """
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    value = INPUT
    for number, layer in enumerate(layers):
        last = number == len(layers) - 1
        result = OUTPUT if last else f"{number}"
        made, held = _written(layer, str(number), value, result, axes=len(shape))
        nodes += made
        weights += held
        value = result
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def _written(
    layer: nn.Module, name: str, value: str, result: str, *, axes: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The operators of one layer, and its weights."""
    names = {"weight": f"{name}.weight"}
    arrays = {"weight": weight_of(layer).detach().cpu().numpy()}
    bias = getattr(layer, "bias", None)
    if bias is not None:
        names["bias"] = f"{name}.bias"
        arrays["bias"] = bias.detach().cpu().numpy()
    if isinstance(layer, nn.Conv2d):
        read = [value, *names.values()]
        node = helper.make_node("Conv", read, [result])
        node.attribute.extend(_geometry(layer))
        nodes = [node]
    elif axes == _MATRIX_AXES:
        read = [value, *names.values()]
        nodes = [helper.make_node("Gemm", read, [result], transB=1)]
    else:
        arrays["weight"] = np.ascontiguousarray(arrays["weight"].T)
        product = result if bias is None else f"{name}.product"
        nodes = [helper.make_node("MatMul", [value, names["weight"]], [product])]
        if bias is not None:
            nodes.append(helper.make_node("Add", [product, names["bias"]], [result]))
    held = [numpy_helper.from_array(arrays[key], names[key]) for key in names]
    return nodes, held


def _geometry(layer: nn.Conv2d) -> list[onnx.AttributeProto]:
    """A convolution's attributes."""
    how = [
        helper.make_attribute("strides", layer.stride),
        helper.make_attribute("dilations", layer.dilation),
    ]
    # timm's own convolutions pad as TensorFlow does.
    if layer.padding == "same" or type(layer) is not nn.Conv2d:
        how.append(helper.make_attribute("auto_pad", "SAME_UPPER"))
    elif layer.padding != "valid":
        pads = [int(each) for each in layer.padding]
        how.append(helper.make_attribute("pads", [*pads, *pads]))
    return how
