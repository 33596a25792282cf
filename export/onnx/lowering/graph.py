"""What every rewrite of an ONNX graph needs: numbers, grids, and new nodes in place."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Numbers = npt.NDArray[Any]

QUANTIZE: Final = "QuantizeLinear"
DEQUANTIZE: Final = "DequantizeLinear"
WEIGHTED: Final = frozenset({"Conv", "Gemm", "MatMul"})
_NEW: Final = itertools.count()


class Grid(NamedTuple):
    """real = scale * (code - zero); both 0-d, or one a channel for weights."""

    scale: Numbers
    zero: Numbers

    def same_as(self, other: "Grid") -> bool:
        """Whether both mean the same numbers by the same codes."""
        return (
            self.zero.dtype == other.zero.dtype
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero, other.zero)
        )

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest code."""
        found = np.iinfo(self.zero.dtype)
        return int(found.min), int(found.max)

    def codes(self) -> Numbers:
        """Every code there is."""
        low, high = self.limits
        return np.arange(low, high + 1, dtype=np.int32)

    def reals(self) -> Numbers:
        """What every code means, in float32 as runtimes compute it."""
        steps = (self.codes() - int(self.zero)).astype(np.float32)
        return np.asarray(steps * np.float32(self.scale))

    def code_of(self, reals: Numbers) -> Numbers:
        """QuantizeLinear of float32 numbers."""
        steps = np.rint(reals.astype(np.float32) / np.float32(self.scale))
        found: Numbers = np.clip(steps + int(self.zero), *self.limits)
        return found.astype(np.int32)


def nodes_of(graph: ir.Graph, *operators: str) -> list[ir.Node]:
    """Every node of these operators, in order; a list, as passes change the graph."""
    return [node for node in graph if node.op_type in operators and node.domain == ""]


def numbers(value: ir.Value | None) -> Numbers | None:
    """What a constant holds; None for anything else."""
    if value is None or value.const_value is None:
        return None
    found: Numbers = value.const_value.numpy()
    return found


def known(value: ir.Value | None) -> Numbers:
    """What a constant holds; it must be one."""
    found = numbers(value)
    if found is None:
        raise TypeError(f"{value} is no constant")
    return found


def given(node: ir.Node, place: int) -> ir.Value | None:
    """An input that may be left out."""
    return node.inputs[place] if place < len(node.inputs) else None


def needed(node: ir.Node, place: int = 0) -> ir.Value:
    """An input that an operator always has."""
    found = given(node, place)
    if found is None:
        raise TypeError(f"{node.name} lacks input {place}")
    return found


def attribute(node: ir.Node, name: str, default: Any) -> Any:  # noqa: ANN401  # whatever the operator takes
    """An attribute's value."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def grid_of(node: ir.Node) -> Grid:
    """The grid of a Q or DQ node; a zero point that is left out is 0."""
    scale = np.asarray(known(given(node, 1)), np.float32)
    zero = numbers(given(node, 2))
    if zero is None:
        codes = numbers(needed(node)) if node.op_type == DEQUANTIZE else None
        zero = np.zeros(scale.shape, np.uint8 if codes is None else codes.dtype)
    alone = scale.size == 1 and attribute(node, "axis", None) is None
    if alone or scale.shape == ():
        scale, zero = scale.reshape(()), zero.reshape(())
    return Grid(scale, zero)


def dequantizer(value: ir.Value | None) -> ir.Node | None:
    """The DQ node that gives `value`, if one does."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == DEQUANTIZE else None


def readers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read a value."""
    return list(dict.fromkeys(use.node for use in value.uses()))


def only_reader(value: ir.Value, operator: str) -> ir.Node | None:
    """The one node that reads a value, if it is such an operator."""
    found = readers(value)
    if value.is_graph_output() or len(found) != 1 or found[0].op_type != operator:
        return None
    return found[0]


def layer_of(node: ir.Node) -> str:
    """The layer that a node belongs to: LAYER/OPERATOR."""
    return (node.name or "").rpartition("/")[0] or (node.name or "")


def constant(graph: ir.Graph, values: Numbers) -> ir.Value:
    """Numbers as a new initializer; equal ones are merged in the end."""
    tensor = ir.tensor(np.asarray(values, order="C"))
    value = ir.Value(
        name=f"new_constant_{next(_NEW)}",
        shape=ir.Shape(np.shape(values)),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def insert(
    before: ir.Node,
    operator: str,
    inputs: Sequence[ir.Value | None],
    *,
    layer: str,
    attributes: Mapping[str, Any] | None = None,
) -> ir.Value:
    """A new node just before another one; gives what it computes."""
    node = ir.node(operator, inputs, attributes or {}, name=f"{layer}/{operator}")
    node.outputs[0].name = f"new_value_{next(_NEW)}"
    graph_of(before).insert_before(before, node)
    return node.outputs[0]


def graph_of(node: ir.Node) -> ir.Graph:
    """The graph that holds a node."""
    if not isinstance(node.graph, ir.Graph):
        raise TypeError(f"{node.name} is in no graph")
    return node.graph


def dequantize(before: ir.Node, codes: ir.Value, grid: Grid, *, layer: str) -> ir.Value:
    """Read codes as real numbers."""
    graph = graph_of(before)
    parts = (constant(graph, grid.scale), constant(graph, grid.zero))
    axis = {} if grid.scale.shape == () else {"axis": 0}
    made = insert(before, DEQUANTIZE, (codes, *parts), layer=layer, attributes=axis)
    describe_(made, codes, ir.DataType.FLOAT)
    return made


def describe_(
    value: ir.Value, like: ir.Value, dtype: ir.DataType | None = None
) -> None:
    """Give a new value the shape of another one, and its type if no other is given."""
    value.shape = like.shape
    kind = like.dtype if dtype is None else dtype
    if kind is not None:
        value.type = ir.TensorType(kind)


def regrid(node: ir.Node, grid: Grid) -> None:
    """Let a Q or DQ node use another grid."""
    graph = graph_of(node)
    scale, zero = constant(graph, grid.scale), constant(graph, grid.zero)
    inputs = (needed(node), scale, zero)
    node.resize_inputs(len(inputs))
    for place, value in enumerate(inputs):
        node.replace_input_with(place, value)


def redirect(old: ir.Value, new: ir.Value) -> None:
    """Let everything that reads `old` read `new`."""
    for use in list(old.uses()):
        use.node.replace_input_with(use.idx, new)


def pairs(graph: ir.Graph) -> Iterator[tuple[ir.Node, ir.Node]]:
    """Every weighted node with the DQ of its INT8 weight, where it has one."""
    for node in nodes_of(graph, *WEIGHTED):
        reader = dequantizer(given(node, 1))
        if reader is not None and numbers(needed(reader)) is not None:
            yield node, reader
