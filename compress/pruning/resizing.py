"""ONNX models at other widths, their weights sliced: an export takes 100 times longer.

Kernels take as long with any weights, so which channels go makes no difference.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from compress.pruning.layout import Layer

Numbers = npt.NDArray[np.generic]

_WEIGHTED: Final = frozenset({"Conv", "Gemm"})
# What takes whatever it is given, channel by channel or as a whole.
_FLEXIBLE: Final = frozenset(
    {
        *("QuantizeLinear", "DequantizeLinear", "Relu", "Clip", "HardSigmoid"),
        *("HardSwish", "Sigmoid", "Mul", "Add", "Flatten", "Concat", "Pad"),
        *("GlobalAveragePool", "MaxPool", "AveragePool", "ReduceMean", "Identity"),
        *("Tanh", "Softmax", "Erf", "Sqrt", "Div", "Sub", "Cast", "Squeeze"),
    }
)
# Two nodes of one name get a number, as fx counts them.
_COUNTED: Final = re.compile(r"__\d+$")


class NotResizableError(Exception):
    """The model has something that does not follow from the widths of its layers."""


def layer_name(node: onnx.NodeProto, layers: Mapping[str, object]) -> str | None:
    """Which of `layers` a node of `qdq_model` computes, or belongs to by its name.

    Nodes go by their layer, or by its node in an fx graph, where dots are not allowed.
    """
    name = node.name.rpartition("/")[0]
    for each in (name, _COUNTED.sub("", name)):
        if each in layers:
            return each
    return None


def known_as(layers: Sequence[Layer]) -> dict[str, Layer]:
    """Layers by every name that their nodes may have."""
    return {each.name.replace(".", "_"): each for each in layers} | {
        each.name: each for each in layers
    }


def resized(model: onnx.ModelProto, layers: Sequence[Layer]) -> onnx.ModelProto:
    """`model`, of `qdq_model` with a static batch, with its layers at these sizes.

    NotResizableError if a layer is not found, or other operators hang on widths.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    cutter = _Cutter(made)
    named = known_as(layers)
    found = set()
    for node in list(made.graph.node):
        if node.op_type == "Reshape":
            cutter.flattens(node)
        elif node.op_type in _WEIGHTED:
            name = layer_name(node, named)
            if name is None:
                raise NotResizableError(node.name)
            found.add(named[name].name)
            cutter.cuts(node, named[name])
        elif node.op_type not in _FLEXIBLE or cutter.held_wide(node):
            raise NotResizableError(node.name)
    if missing := {layer.name for layer in layers} - found:
        raise NotResizableError(", ".join(sorted(missing)))
    cutter.tidy()
    return made


class _Cutter:
    """Changes one model's stored tensors; what two nodes share, each gets anew."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.stored = {each.name: each for each in self.graph.initializer}
        self.maker = {name: node for node in self.graph.node for name in node.output}
        self.own: list[onnx.NodeProto] = []  # which read nothing but stored tensors

    def held_wide(self, node: onnx.NodeProto) -> bool:
        """Whether a node reads a stored tensor of more than one number.

        Grids of weights do, and go with their layer; nothing else may.
        """
        return node.op_type != "DequantizeLinear" and any(
            np.prod(self.stored[name].dims) > 1 and node.op_type != "Pad"
            for name in node.input
            if name in self.stored
        )

    def flattens(self, node: onnx.NodeProto) -> None:
        """Let a Reshape to one row take any width."""
        shape = self.stored.get(node.input[1])
        wanted = None if shape is None else numpy_helper.to_array(shape).tolist()
        if wanted is None or len(wanted) != 2:  # noqa: PLR2004  # one row
            raise NotResizableError(node.name)
        self.put(node, 1, np.array([1, -1], np.int64))

    def cuts(self, node: onnx.NodeProto, layer: Layer) -> None:
        """Cut what a layer reads beside its input."""
        options = {each.name: each for each in node.attribute}

        def narrowed(weight: Numbers) -> Numbers:
            if node.op_type == "Conv":
                return weight[: layer.outputs, : layer.inputs // layer.groups]
            if "transB" in options and options["transB"].i:
                return weight[: layer.outputs, : layer.inputs]
            return weight[: layer.inputs, : layer.outputs]

        def first(values: Numbers) -> Numbers:
            return values[: layer.outputs]

        if "group" in options:
            options["group"].i = layer.groups
        elif layer.groups > 1:
            raise NotResizableError(node.name)
        self.cut(node, 1, narrowed, first)
        if len(node.input) > 2:  # noqa: PLR2004  # a bias
            self.cut(node, 2, first, first)

    def cut(
        self,
        node: onnx.NodeProto,
        place: int,
        values: Callable[[Numbers], Numbers],
        grid: Callable[[Numbers], Numbers],
    ) -> None:
        """Cut a stored tensor, or one behind a DQ, whose grid is cut as well."""
        source = node.input[place]
        if source in self.stored:
            self.put(node, place, values(self.read(source)))
            return
        reader = self.maker.get(source)
        if reader is None or reader.op_type != "DequantizeLinear":
            raise NotResizableError(node.name)
        # One of its own: equal grids are shared by layers that may differ from now on.
        own = onnx.NodeProto()
        own.CopyFrom(reader)
        own.name = own.output[0] = node.input[place] = f"{node.name}.{place}.own"
        for at, name in enumerate(reader.input):
            if name not in self.stored:
                raise NotResizableError(node.name)
            stored = self.read(name)
            if stored.ndim:
                self.put(own, at, (values if at == 0 else grid)(stored))
        self.own.append(own)

    def read(self, name: str) -> Numbers:
        """A stored tensor."""
        found: Numbers = numpy_helper.to_array(self.stored[name])
        return found

    def put(self, node: onnx.NodeProto, place: int, values: Numbers) -> None:
        """Let a node read `values` there."""
        name = f"{node.name}.{place}.resized"
        made = numpy_helper.from_array(np.ascontiguousarray(values), name)
        self.graph.initializer.append(made)
        node.input[place] = name

    def tidy(self) -> None:
        """Drop tensors that nobody reads, and shapes that are not true any more."""
        nodes = [*self.own, *self.graph.node]
        read = {name for node in nodes for name in node.input}
        read |= {value.name for value in self.graph.output}
        nodes = [node for node in nodes if not read.isdisjoint(node.output)]
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        read = {name for node in nodes for name in node.input}
        kept = [each for each in self.graph.initializer if each.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        del self.graph.value_info[:]
