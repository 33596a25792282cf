"""Weights of -128 overflow on ARM cores: the lint names them; ours have none."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.evaluation.linting import linted
from export.onnx.arm_rules import overflow_of_file, overflowing, refuse_overflow
from runtime.errors import Exit, InputRejectedError

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


def test_a_weight_of_minus_128_is_named() -> None:
    """The one code that the symmetric grid does not need."""
    assert overflowing(convolution(-128)) == ("conv",)
    assert overflowing(convolution(-127)) == ()


def test_a_file_for_arm_that_overflows_is_not_written() -> None:
    """The sentence says where, on which cores, in which versions, and what to do."""
    refuse_overflow(convolution(-127), name="net")

    with pytest.raises(InputRejectedError, match=r"conv .*-128.*A72.*before 1\.30"):
        refuse_overflow(convolution(-128), name="net")


def test_a_file_from_elsewhere_is_judged_too(tmp_path: Path) -> None:
    """By its path; what is no model is refused."""
    foreign, broken = tmp_path / "foreign.onnx", tmp_path / "broken.onnx"
    onnx.save(convolution(-128), foreign)
    broken.write_bytes(b"\x08\x08garbage")

    assert str(overflow_of_file(foreign)).startswith("foreign.onnx: conv has weights")
    with pytest.raises(InputRejectedError, match="is no ONNX model"):
        overflow_of_file(broken)


def test_verify_holds_a_foreign_file_against_the_rule(tmp_path: Path) -> None:
    """`compress verify FILE --target generic-arm64`: exit code 4, or 0."""
    for lowest, code in ((-128, Exit.PARITY), (-127, Exit.FIT)):
        path = tmp_path / f"weights{lowest}.onnx"
        onnx.save(convolution(lowest), path)
        assert linted(path, "generic-arm64").exit_code == code
