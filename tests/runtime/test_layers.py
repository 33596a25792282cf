"""`--layers`, `--threads 1,2` and `--cores`: where the time goes, and with how many."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.__main__ import main
from runtime.errors import Exit
from runtime.layers import profile_layers
from runtime.pinning import pinned

INT8 = "weights/mobilenet_v1_0.25_128_quant.tflite"
Out = pytest.CaptureFixture[str]


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    """A large product between a transpose and a quantization that is undone."""
    weight = np.ones((4096, 512), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["x"], ["turned"], "turn", perm=[0, 3, 1, 2]),
            helper.make_node("Flatten", ["turned"], ["flat"], "flatten", axis=1),
            helper.make_node("MatMul", ["flat", "w"], ["large"], "product"),
            helper.make_node("QuantizeLinear", ["large", "s", "z"], ["q"], "down"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], "up"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 512])],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.float32(1), "s"),
            numpy_helper.from_array(np.uint8(128), "z"),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.save(model, tmp_path / "a.onnx")
    return tmp_path / "a.onnx"


def test_layers_of_an_onnx_file_and_their_tax(onnx_file: Path, capsys: Out) -> None:
    """Two million products take most; what converts and moves is the tax."""
    assert main(["--layers", "--json", str(onnx_file)]) == Exit.FIT
    (found,) = json.loads(capsys.readouterr().out)["profiles"]
    kinds = {each["operator"]: each for each in found["operators"]}
    assert found["operators"][0]["operator"] in {"MatMul", "Gemm"}
    assert found["operators"][0]["dtype"] == "float32"
    assert kinds["QuantizeLinear"]["dtype"] == "float32"
    assert kinds["DequantizeLinear"]["dtype"] == "uint8"
    taxed = {each["operator"] for each in found["layers"] if each["tax"]}
    assert taxed == {"Transpose", "QuantizeLinear", "DequantizeLinear"}
    assert sum(each["share"] for each in found["layers"]) == pytest.approx(1)
    tax = sum(each["share"] for each in found["layers"] if each["tax"])
    assert found["layout_tax"] == pytest.approx(tax)


def test_layers_of_a_tflite_file_add_up(shared_data: Path) -> None:
    """MobileNetV1 in uint8: 15 convolutions, one a classifier, and 13 depthwise ones.

    Cut after each operator and run in turn, the differences add up to the whole.
    """
    (found,) = profile_layers([shared_data / INT8]).files
    count = {(operator, dtype): n for operator, dtype, n, _ in found.by_operator()}
    assert count["DEPTHWISE_CONV_2D", "uint8"] == 13
    assert count["CONV_2D", "uint8"] == 15
    assert len(found.layers) == sum(count.values()) == 31
    assert 0.3 < found.sum_ms / found.whole_ms < 3  # others use this machine, too
    assert found.by_operator()[0][0] in {"CONV_2D", "DEPTHWISE_CONV_2D"}


def test_layers_are_a_table_of_80_columns(onnx_file: Path, capsys: Out) -> None:
    assert main(["--layers", "--threads", "1,2", str(onnx_file)]) == Exit.FIT
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    assert told.count("the layout tax, which computes nothing") == 2
    assert "1 thread," in told
    assert "2 threads," in told


def test_a_sweep_measures_with_each_number_of_threads(
    onnx_file: Path, capsys: Out
) -> None:
    words = ["--threads", "2,1", "--runs", "20", "--force", "-q"]
    assert main([*words, "--json", str(onnx_file)]) == Exit.FIT
    found = json.loads(capsys.readouterr().out)["measurements"]
    assert [each["threads"] for each in found] == [2, 1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--threads", "1,1"], "such as 1,2,4, each once"),
        (["--threads", "one"], "such as 1,2,4, each once"),
        (["--threads", "1,5000"], "--threads 5000; allowed: up to 1024"),
        (["--threads", "1,2", "--compare", "FILE"], "--threads names 2"),
        (["--cores", "100000"], "100000 not to be had; this process may use "),
        (["--layers", "--check"], "--check and --layers: give one of them"),
        (["--layers", "--runtime", "openvino"], "openvino does not tell the layers"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(
    onnx_file: Path, capsys: Out, words: list[str], told: str
) -> None:
    given = [str(onnx_file) if word == "FILE" else word for word in words]
    assert main([*given, str(onnx_file)]) == Exit.USAGE
    assert told in capsys.readouterr().err


def test_within_the_block_only_these_cores_are_used() -> None:
    before = os.sched_getaffinity(0)
    one = min(before)
    with pinned([one]):
        assert os.sched_getaffinity(0) == {one}
    assert os.sched_getaffinity(0) == before
    with pinned([]):
        assert os.sched_getaffinity(0) == before


def test_where_nothing_can_be_pinned_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    with pytest.raises(Exception, match="cannot pin a process"), pinned([0]):
        pass


def test_a_plan_with_cores_and_a_sweep_goes_anywhere_as_words(
    onnx_file: Path,
) -> None:
    from runtime.__main__ import parser
    from runtime.plan import Plan

    words = ["--threads", "1,2,4", "--cores", "0,3", str(onnx_file)]
    plan = Plan.of(parser().parse_args(words))
    assert (plan.threads, plan.sweep, plan.cores) == (1, (2, 4), (0, 3))
    assert Plan.of(parser().parse_args([*plan.words(), str(onnx_file)])) == plan
