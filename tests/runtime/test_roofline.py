"""Peaks, costs and the share of a bound."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.artifact import Artifact
from runtime.costs import count_costs
from runtime.onnx_writing import matrix_product
from runtime.peaks import Peaks, last_level_cache_bytes, measure_peaks
from runtime.phases import best
from runtime.roofline import Roofline, table
from runtime.tflite_writing import fully_connected


@pytest.mark.parametrize(
    ("operator", "left", "right"),
    [("MatMul", np.float32, np.float32), ("MatMulInteger", np.uint8, np.int8)],
)
def test_a_product_written_by_hand_is_the_product(
    operator: str, left: type, right: type
) -> None:
    """The onnx library finds the file sound, and its answer is numpy's."""
    import onnxruntime

    rng = np.random.default_rng(0)
    x = rng.integers(0, 100, (3, 200)).astype(left)
    w = rng.integers(-100, 100, (200, 5)).astype(right)
    model = matrix_product(operator, left, w, rows=3)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    np.testing.assert_allclose(found, x.astype(float) @ w.astype(float), rtol=1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.int8])
def test_a_layer_written_by_hand_is_the_product(kind: type) -> None:
    """LiteRT loads the file, and its answer is numpy's, in int8 rounded once."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    rng = np.random.default_rng(0)
    w = rng.integers(-20, 20, (7, 64)).astype(kind)
    x = rng.integers(-20, 20, (3, 64)).astype(kind)
    loaded = interpreter(model_content=fully_connected(w, rows=3, scale=100.0))
    loaded.allocate_tensors()
    loaded.set_tensor(loaded.get_input_details()[0]["index"], x)
    loaded.invoke()
    found = loaded.get_tensor(loaded.get_output_details()[0]["index"])
    exact = x.astype(float) @ w.astype(float).T
    if kind is np.int8:
        assert np.abs(found - exact / 100).max() <= 0.5
    else:
        np.testing.assert_allclose(found, exact)


def test_peaks_are_measured_and_none_is_beyond_reason() -> None:
    """More than nothing, less than a hundred operations a cycle of 100 GHz."""
    found = measure_peaks(threads=1, seconds=0.02)
    assert 0.01 < found.float_gmacs < 10_000
    assert found.int8_gmacs is not None
    assert 0.01 < found.int8_gmacs < 10_000
    assert 0.01 < found.gbs < 10_000
    assert "GMAC/s" in found.as_text()


def a_net(path: Path) -> Path:
    """A convolution 3 -> 4, 3x3, a depthwise one, and a product 4 -> 10, at 8 x 8."""
    rng = np.random.default_rng(0)
    weights = {
        "c": rng.standard_normal((4, 3, 3, 3)),
        "d": rng.standard_normal((4, 1, 3, 3)),
        "f": rng.standard_normal((4, 10)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "c"], ["a"], pads=[1] * 4),
        helper.make_node("Conv", ["a", "d"], ["b"], pads=[1] * 4, group=4),
        helper.make_node("GlobalAveragePool", ["b"], ["p"]),
        helper.make_node("Flatten", ["p"], ["flat"]),
        helper.make_node("MatMul", ["flat", "f"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_costs_are_those_of_the_layers_by_hand(tmp_path: Path) -> None:
    path = a_net(tmp_path / "net.onnx")
    found = count_costs(Artifact.read(path))
    assert found is not None
    conv, depthwise, product = 64 * 4 * 27, 64 * 4 * 9, 40
    assert found.macs == conv + depthwise + product
    elements = [64 * 3 + 64 * 4, 64 * 4 + 64 * 4, 4 + 10]
    assert found.bytes_moved == path.stat().st_size + 4 * sum(elements)
    assert found.working_bytes == path.stat().st_size + 4 * max(elements)
    assert found.int8 is False


def test_a_published_int8_file_costs_what_its_paper_says(shared_data: Path) -> None:
    """MobileNetV2: 300 million multiply-accumulates (Sandler et al. 2018, table 4)."""
    path = shared_data / "weights/tf2_mobilenet_v2_1.0_224_ptq.tflite"
    found = count_costs(Artifact.read(path))
    assert found is not None
    assert found.macs == pytest.approx(300e6, rel=0.01)
    assert found.int8 is True


def test_what_does_not_run_has_no_costs(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    artifact = Artifact.read(a_net(path))
    path.write_bytes(path.read_bytes()[:100])
    assert count_costs(artifact) is None


PEAKS = Peaks(
    threads=1,
    float_gmacs=50.0,
    float_by="numpy",
    int8_gmacs=200.0,
    int8_by="onnxruntime",
    gbs=4.0,
    cache_bytes=1_000_000,
)


def roof(*, int8: bool, working_bytes: int, peaks: Peaks = PEAKS) -> Roofline:
    """300 million multiply-accumulates and 20 MB."""
    return Roofline(
        peaks=peaks,
        int8=int8,
        macs=300_000_000,
        bytes_moved=20_000_000,
        working_bytes=working_bytes,
    )


def test_the_bound_is_the_longer_of_arithmetic_and_bytes() -> None:
    """300 M at 50 G/s are 6 ms, at 200 G/s 1.5 ms; 20 MB at 4 GB/s are 5 ms."""
    assert roof(int8=False, working_bytes=2_000_000).bound_ms() == pytest.approx(6.0)
    assert roof(int8=True, working_bytes=2_000_000).bound_ms() == pytest.approx(5.0)
    held = roof(int8=True, working_bytes=900_000)  # by the cache
    assert held.bound_ms() == pytest.approx(1.5)


def test_shares_are_drawn_and_what_is_unknown_says_why() -> None:
    from dataclasses import replace

    no_int8 = replace(PEAKS, int8_gmacs=None)
    rows = [
        ("float.onnx", roof(int8=False, working_bytes=10), 12.0),
        ("int8.onnx", roof(int8=True, working_bytes=10**7), 10.0),
        ("a-very-long-name-of-a-file.tflite", replace(PEAKS_UNKNOWN, peaks=PEAKS), 1.0),
        ("int8.tflite", roof(int8=True, working_bytes=10, peaks=no_int8), 1.0),
    ]
    lines = table(rows)
    assert "50% compute" in lines[2]
    assert "50% memory" in lines[3]
    assert "layers are not told" in lines[4]
    assert "no INT8 peak here" in lines[5]
    assert max(map(len, lines)) <= 80


PEAKS_UNKNOWN = Roofline(
    peaks=PEAKS, int8=False, macs=None, bytes_moved=None, working_bytes=None
)


def test_the_last_level_cache_is_the_largest(tmp_path: Path) -> None:
    for index, size in enumerate(("32K", "32K", "1024K", "32768K")):
        path = tmp_path / f"sys/devices/system/cpu/cpu0/cache/index{index}/size"
        path.parent.mkdir(parents=True)
        path.write_text(f"{size}\n", encoding="ascii")
    assert last_level_cache_bytes(tmp_path) == 32 << 20
    assert last_level_cache_bytes(tmp_path / "bare") is None


def test_the_best_five_are_a_softmax_in_order() -> None:
    (found,) = best(np.array([[0.0, 2.0, 1.0, -1.0, 5.0, 4.0]], np.float32))
    assert [place for place, _ in found] == [4, 5, 1, 2, 0]
    total = sum(math.exp(x) for x in (0, 2, 1, -1, 5, 4))
    assert found[0][1] == pytest.approx(math.exp(5) / total, rel=1e-5)
