"""Cold start and the edges of an inference."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.artifact import Artifact
from runtime.fresh import fresh
from runtime.phases import edges
from runtime.preprocess import Preprocess


def net(path: Path) -> Path:
    """A linear ONNX file for [1, 3, 8, 8] with ten outputs."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(np.ones((192, 10), np.float32), "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_a_cold_start_is_longer_than_its_parts(tmp_path: Path) -> None:
    """Python's own start is in the total only."""
    found = fresh(net(tmp_path / "net.onnx"), threads=1)
    assert found is not None
    start = found.start
    assert min(start.import_ms, start.load_ms, start.first_ms) > 0
    assert start.total_ms > start.import_ms + start.load_ms + start.first_ms
    assert start.import_ms > start.first_ms


def test_edges_are_timed_where_the_file_says_how_it_sees_pixels(
    tmp_path: Path,
) -> None:
    path = net(tmp_path / "net.onnx")
    rng = np.random.default_rng(0)
    assert edges(Artifact.read(path), rng) is None
    see = Preprocess(size=8, resize=8).as_record()
    bare = Artifact.read(path)
    facts = {
        "sha256": bare.sha256,
        "size_bytes": bare.size_bytes,
        "preprocess": see,
        "classes": [str(each) for each in range(10)],
    }
    bare.sidecar.write_text(json.dumps(facts), encoding="utf-8")
    found = edges(Artifact.read(path), rng)
    assert found is not None
    assert 0 < found.before_ms < 1000
    assert 0 < found.after_ms < 1000
    assert "preprocessing" in found.as_text()


@pytest.mark.parametrize("content", [b"no", b""])
def test_a_file_that_does_not_load_has_no_cold_start(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    assert fresh(tmp_path / "bad.onnx", threads=1) is None
