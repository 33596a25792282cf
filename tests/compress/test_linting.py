"""`verify FILE.onnx --target`: a file of anybody's held against a device's rules."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.cli import main
from runtime.errors import Exit


def written(path: Path, zero: np.generic) -> Path:
    """A convolution behind Q and DQ of that zero point, as any tool may write it."""
    values = {
        "scale": np.array(0.1, np.float32),
        "zero": np.array(zero),
        "codes": np.ones((4, 3, 1, 1), np.int8),
        "scales": np.ones(4, np.float32),
        "zeros": np.zeros(4, np.int8),
    }
    grid = ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["image", *grid], ["q"], name="q"),
        helper.make_node("DequantizeLinear", ["q", *grid], ["x"], name="dq"),
        helper.make_node(
            "DequantizeLinear", ["codes", "scales", "zeros"], ["w"], name="w", axis=0
        ),
        helper.make_node("Conv", ["x", "w"], ["y"], name="conv"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 8, 8])
        for name, channels in (("image", 3), ("y", 4))
    ]
    stored = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "foreign", ends[:1], ends[1:], stored)
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_a_good_file_is_told_to_be_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "good.onnx", np.int8(0))

    assert main(["verify", str(path), "--target", "jetson-orin"]) == Exit.FIT
    assert "keeps to all 13 rules" in capsys.readouterr().out


def test_a_float_file_is_told_that_it_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rules about Q and DQ, all kept, would sound as if it were ready for INT8."""
    path = written(tmp_path / "float.onnx", np.int8(0))
    model = onnx.load(path)
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Conv", ["image", "w"], ["y"]))
    weight = np.ones((4, 3, 1, 1), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    onnx.save(model, path)

    assert main(["verify", str(path), "--target", "jetson-orin"]) == Exit.FIT
    told = capsys.readouterr().out
    assert "verdict: a float file" in told
    assert "rules" not in told


def test_each_breach_is_told_with_its_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """TensorRT would take this one in silence, and clip."""
    path = written(tmp_path / "bad.onnx", np.uint8(0))
    words = ("verify", str(path), "--target", "jetson")

    assert main([*words, "--json"]) == Exit.PARITY
    found = json.loads(capsys.readouterr().out)
    assert [each["rule"] for each in found["breaches"]] == ["uint8", "uint8"]
    assert main([*words]) == Exit.PARITY
    assert "is read as int8 and clips" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "target", "code", "told"),
    [
        ("good.onnx", "rpi5", Exit.USAGE, "has no rules of its own"),
        ("good.onnx", "jetson-x", Exit.USAGE, "unknown target"),
        ("missing.onnx", "jetson", Exit.USAGE, "no such file"),
        ("torn.onnx", "jetson", Exit.REJECTED, "torn.onnx"),
    ],
)
def test_what_cannot_be_looked_at_is_a_sentence(  # noqa: PLR0913, PLR0917  # fixtures
    name: str,
    target: str,
    code: Exit,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = written(tmp_path / "good.onnx", np.int8(0))
    (tmp_path / "torn.onnx").write_bytes(good.read_bytes()[:-20])

    assert main(["verify", str(tmp_path / name), "--target", target, "-q"]) == code
    printed = capsys.readouterr().err
    assert told in printed
    assert printed.count("\n") == 1
