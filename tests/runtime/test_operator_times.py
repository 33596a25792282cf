"""Operators timed within a file: which ones there are, and what they add up to."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from runtime.operator_times import operator_times


def saved(path: Path) -> None:
    """Two matrix products, one a hundred times the other, and a sum."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> TensorProto:
        values = rng.standard_normal(shape, dtype=np.float32)
        return onnx.numpy_helper.from_array(values, name)

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["image", "wide"], ["a"], "long/MatMul"),
            helper.make_node("MatMul", ["a", "narrow"], ["b"], "short/MatMul"),
            helper.make_node("Softmax", ["b"], ["logits"], "end/Softmax"),
        ],
        "two",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [64, 512])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [64, 10])],
        [weight("wide", 512, 1024), weight("narrow", 1024, 10)],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(model, path)


def test_every_operator_has_a_sample_of_each_round(tmp_path: Path) -> None:
    """In the order of the work, the longest of them being what it must be."""
    saved(tmp_path / "two.onnx")

    found = operator_times(
        tmp_path / "two.onnx", threads=1, rounds=5, rng=np.random.default_rng(0)
    )

    names = [each.name for each in found]
    assert names == ["long/MatMul", "short/MatMul", "end/Softmax"]
    assert {len(each.samples_us) for each in found} == {5}
    fastest = {each.name: min(each.samples_us) for each in found}
    assert fastest["long/MatMul"] > fastest["short/MatMul"]
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".onnx"]
