"""Every rule of TensorRT's, by a graph that breaks it alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.onnx.tensorrt_rules import (
    RULES,
    breaches,
    breaches_of_file,
    refuse_breaches,
)
from runtime.errors import InputRejectedError


class Sketch:
    """A small QDQ graph that keeps every rule, to be spoiled in one place."""

    def __init__(self) -> None:
        """Begin with an image of 4 channels."""
        self.nodes: list[onnx.NodeProto] = []
        self.values: dict[str, np.ndarray] = {}
        self.opset = 18
        self.scale = 0.05
        self.zero: np.int8 | np.uint8 = np.int8(0)

    def add(self, operator: str, *inputs: str, name: str, **attributes: int) -> str:
        """One more node; gives what it computes."""
        made = helper.make_node(operator, inputs, [name], name=name, **attributes)
        self.nodes.append(made)
        return name

    def rounded(self, value: str, name: str, *, scale: float | None = None) -> str:
        """`value` behind a Q and a DQ."""
        grid = [f"{name}.scale", f"{name}.zero"]
        self.values[grid[0]] = np.array(scale or self.scale, np.float32)
        self.values[grid[1]] = np.array(self.zero)
        codes = self.add("QuantizeLinear", value, *grid, name=f"{name}.q")
        return self.add("DequantizeLinear", codes, *grid, name=f"{name}.dq")

    def weight(self, name: str, *, axis: int = 0) -> str:
        """A stored int8 weight [4, 4, 1, 1] behind a DQ for each output."""
        self.values[f"{name}.codes"] = np.full((4, 4, 1, 1), 3, np.int8)
        self.values[f"{name}.scales"] = np.full(4, 0.01, np.float32)
        self.values[f"{name}.zeros"] = np.zeros(4, np.int8)
        parts = [f"{name}.{part}" for part in ("codes", "scales", "zeros")]
        return self.add("DequantizeLinear", *parts, name=f"{name}.w", axis=axis)

    def conv(self, value: str, name: str, **options: int) -> str:
        """A convolution of what is given, which rounds nothing by itself."""
        return self.add("Conv", value, self.weight(name, **options), name=name)

    def model(self, output: str) -> onnx.ModelProto:
        """The graph so far."""
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8])
            for name in ("image", output)
        ]
        stored = [numpy_helper.from_array(v, name) for name, v in self.values.items()]
        del ends[1].type.tensor_type.shape.dim[:]
        graph = helper.make_graph(self.nodes, "sketch", ends[:1], ends[1:], stored)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
        )


def block(sketch: Sketch) -> str:
    """A rounded convolution with a clamp."""
    read = sketch.rounded("image", "a")
    return sketch.add("Relu", sketch.conv(read, "c"), name="relu")


def newer(sketch: Sketch) -> str:
    sketch.opset = 21
    return block(sketch)


def shifted(sketch: Sketch) -> str:
    sketch.zero = np.int8(3)
    return block(sketch)


def unsigned(sketch: Sketch) -> str:
    sketch.zero = np.uint8(0)
    return block(sketch)


def integer(sketch: Sketch) -> str:
    sketch.values["filter"] = np.ones((4, 4, 1, 1), np.uint8)
    sketch.values |= {"s": np.array(0.1, np.float32), "z": np.array(0, np.uint8)}
    codes = sketch.add("Cast", "image", name="cast", to=TensorProto.UINT8)
    return sketch.add("ConvInteger", codes, "filter", name="whole")


def biased(sketch: Sketch) -> str:
    read = sketch.rounded("image", "a")
    sketch.values |= {
        "b.codes": np.zeros(4, np.int32),
        "b.scales": np.full(4, 0.1, np.float32),
    }
    bias = sketch.add("DequantizeLinear", "b.codes", "b.scales", name="b", axis=0)
    return sketch.add("Conv", read, sketch.weight("c"), bias, name="c")


def other_axis(sketch: Sketch) -> str:
    return sketch.conv(sketch.rounded("image", "a"), "c", axis=1)


def float_weight(sketch: Sketch) -> str:
    """As many exporters write it: a float constant behind a Q and a DQ."""
    sketch.values["float"] = np.ones((4, 4, 1, 1), np.float32)
    read = sketch.rounded("image", "a")
    return sketch.add("Conv", read, sketch.rounded("float", "w"), name="c")


def weights_only(sketch: Sketch) -> str:
    return sketch.conv("image", "c")


def activations_only(sketch: Sketch) -> str:
    sketch.values["float"] = np.ones((4, 4, 1, 1), np.float32)
    return sketch.add("Conv", sketch.rounded("image", "a"), "float", name="c")


def clamp_apart(sketch: Sketch) -> str:
    summed = sketch.conv(sketch.rounded("image", "a"), "c")
    return sketch.add("Relu", sketch.rounded(summed, "b"), name="relu")


def pad_apart(sketch: Sketch) -> str:
    sketch.values["pads"] = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    padded = sketch.add("Pad", "image", "pads", name="pad")
    return sketch.conv(sketch.rounded(padded, "a"), "c")


def residual(sketch: Sketch, *, skip: bool, sums: bool) -> str:
    read = sketch.rounded("image", "a")
    summed = sketch.conv(read, "c")
    left = sketch.rounded(summed, "b") if sums else summed
    return sketch.add("Add", left, read if skip else "image", name="add")


def rounded_sums(sketch: Sketch) -> str:
    return residual(sketch, skip=True, sums=True)


def float_skip(sketch: Sketch) -> str:
    return residual(sketch, skip=False, sums=False)


def joined(sketch: Sketch, *, second: float, output: bool) -> str:
    left = sketch.rounded("image", "a", scale=0.05)
    right = sketch.rounded("image", "b", scale=second)
    both = sketch.add("Concat", left, right, name="cat", axis=1)
    return sketch.rounded(both, "d", scale=0.05) if output else both


def two_scales(sketch: Sketch) -> str:
    return joined(sketch, second=0.07, output=True)


def open_concat(sketch: Sketch) -> str:
    return joined(sketch, second=0.05, output=False)


def half_pool(sketch: Sketch) -> str:
    read = sketch.rounded("image", "a")
    pooled = sketch.add("GlobalAveragePool", read, name="pool")
    return sketch.add("Tanh", pooled, name="tanh")


def rounded_gate(sketch: Sketch) -> str:
    return sketch.add("HardSigmoid", sketch.rounded("image", "a"), name="gate")


def rounded_product(sketch: Sketch) -> str:
    gate = sketch.add("Sigmoid", "image", name="gate")
    return sketch.add("Mul", "image", sketch.rounded(gate, "a"), name="mul")


BROKEN: dict[Callable[[Sketch], str], tuple[str, str]] = {
    newer: ("opset", "opset 21"),
    shifted: ("zero point", "a.q"),
    unsigned: ("uint8", "a.q"),
    integer: ("integer operator", "whole"),
    biased: ("bias", "c"),
    other_axis: ("weight", "c"),
    float_weight: ("weight", "c"),
    weights_only: ("half quantized", "c"),
    activations_only: ("half quantized", "c"),
    clamp_apart: ("fusion", "relu"),
    pad_apart: ("pad", "c"),
    rounded_sums: ("residual sum", "add"),
    float_skip: ("residual sum", "add"),
    two_scales: ("concatenation", "cat"),
    open_concat: ("concatenation", "cat"),
    half_pool: ("average", "pool"),
    rounded_gate: ("gate", "gate"),
    rounded_product: ("gate", "mul"),
}


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda each: each.__name__)
def test_a_graph_that_breaks_one_rule_breaks_no_other(
    spoil: Callable[[Sketch], str],
) -> None:
    """And it is said which node, and of what."""
    sketch = Sketch()
    rule, node = BROKEN[spoil]

    found = breaches(sketch.model(spoil(sketch)))

    assert {each.rule.name for each in found} == {rule}
    assert node in {each.node for each in found}


def test_every_rule_has_such_a_graph_and_a_source() -> None:
    """No line of the table is untried."""
    assert {rule.name for rule in RULES} == {rule for rule, _ in BROKEN.values()}
    assert all(rule.source and rule.says for rule in RULES)


def good(sketch: Sketch) -> str:
    """A block, a residual sum, a concatenation, a pool."""
    first = block(sketch)
    read = sketch.rounded(first, "b")
    total = sketch.add("Add", sketch.conv(read, "d"), read, name="add")
    both = [sketch.rounded(each, f"{each}.r") for each in (total, first)]
    joined = sketch.add("Concat", *both, name="cat", axis=1)
    pooled = sketch.add("GlobalAveragePool", sketch.rounded(joined, "e"), name="pool")
    return sketch.rounded(pooled, "f")


def test_a_graph_that_keeps_them_all_is_let_through() -> None:
    """Each pattern that the rules are about, done well."""
    sketch = Sketch()
    model = sketch.model(good(sketch))

    assert breaches(model) == ()
    refuse_breaches(model, name="sketch", target="jetson")


def test_a_breach_of_ours_is_refused_in_a_sentence() -> None:
    """Nothing is written that a device would refuse."""
    sketch = Sketch()

    with pytest.raises(InputRejectedError, match=r"a\.q: zero point: is 0 everywhere"):
        refuse_breaches(sketch.model(shifted(sketch)), name="net", target="jetson")


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """Foreign files are anything."""
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x08\x07\x12nonsense")

    with pytest.raises(InputRejectedError, match="no ONNX model that can be read"):
        breaches_of_file(path)


def test_weights_in_another_file_are_not_followed(tmp_path: Path) -> None:
    """A path within a file from elsewhere opens nothing."""
    sketch = Sketch()
    model = sketch.model(block(sketch))
    stored = model.graph.initializer[0]
    stored.data_location = TensorProto.EXTERNAL
    stored.external_data.add(key="location", value="/etc/passwd")
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())

    with pytest.raises(InputRejectedError, match="weights in another file"):
        breaches_of_file(path)
