"""Lowered files: the simulation's answers to the bit, in integer kernels throughout."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.onnx.lower import float_left, int8_macs_fraction, lowered
from export.to_onnx import write_onnx
from runtime.artifact import Artifact
from runtime.errors import InputRejectedError, RecipeError
from runtime.machine import this_machine
from runtime.preprocess import Preprocess
from runtime.target import TARGETS, Target, int8_target, target

VNNI, AVX2 = TARGETS["x86-vnni"], TARGETS["x86-avx2"]
SMALL = ("mobilenetv3_small_050", "resnet18", "efficientnet_b0")
ON_X86 = pytest.mark.skipif(
    int8_target(this_machine()) != VNNI, reason="this CPU has no VNNI"
)


def saved(model: onnx.ModelProto, target: Target | None, folder: Path) -> Path:
    """The lowered model as a file that ONNX's checker takes."""
    made = lowered(model, target)
    onnx.checker.check_model(made, full_check=True)
    path = folder / f"{target.name if target else 'any'}.onnx"
    onnx.save(made, path)
    return path


def decibels(want: np.ndarray, have: np.ndarray) -> float:
    """Signal to noise of answers."""
    noise = float(np.square(want - have).sum()) + 1e-30
    return float(10 * np.log10(np.square(want).sum() / noise))


@ON_X86
@pytest.mark.parametrize("name", SMALL)
def test_the_file_answers_as_the_simulation_does_to_the_bit(
    quantized: Callable[[str], Any],
    asked: Callable[..., Any],
    tmp_path: Path,
    name: str,
) -> None:
    """ONNX Runtime's fused integer kernels against torch."""
    net = quantized(name)

    path = saved(net.model, VNNI, tmp_path)

    np.testing.assert_array_equal(asked(path, net.images), net.answers)


@ON_X86
@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "resnet18"])
def test_without_vnni_kernels_the_other_file_says_the_same(
    quantized: Callable[[str], Any],
    asked: Callable[..., Any],
    tmp_path: Path,
    name: str,
) -> None:
    """Its weights are stored about 128, which no pair of products overflows."""
    net = quantized(name)

    path = saved(net.model, AVX2, tmp_path)

    np.testing.assert_array_equal(asked(path, net.images), net.answers)
    kinds = Counter(each.data_type for each in onnx.load(path).graph.initializer)
    assert kinds[TensorProto.UINT8] > kinds[TensorProto.INT8] / 4


@ON_X86
@pytest.mark.parametrize(
    "name",
    [
        *SMALL,
        *("tv:shufflenet_v2_x0_5", "tv:squeezenet1_1"),
        pytest.param("densenet121", marks=pytest.mark.slow),
    ],
)
def test_no_weighted_layer_is_left_in_float(
    quantized: Callable[[str], Any], tmp_path: Path, name: str
) -> None:
    """Read off the graph that ONNX Runtime really runs."""
    net = quantized(name)

    path = saved(net.model, VNNI, tmp_path)

    assert float_left(path) == ()
    assert int8_macs_fraction(path) == 1.0


@ON_X86
def test_nothing_but_integer_kernels_is_left_of_mobilenet_v3(
    quantized: Callable[[str], Any], asked: Callable[..., Any], tmp_path: Path
) -> None:
    """No stray rounding, no float gate; transposes only at the two ends."""
    net = quantized("mobilenetv3_small_050")
    path = saved(net.model, VNNI, tmp_path)

    asked(path, net.images[:1], keep=tmp_path / "optimized.onnx")

    found = Counter(
        node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node
    )
    assert found["QuantizeLinear"] == 1
    assert found["DequantizeLinear"] == 0
    assert found["HardSigmoid"] == found["HardSwish"] == found["Mul"] == 0
    assert found["Transpose"] <= 2
    assert found["QLinearGlobalAveragePool"] == 10


@pytest.mark.parametrize("name", ["arm64", "jetson"])
def test_other_targets_compute_the_same_within_rounding(
    quantized: Callable[[str], Any],
    asked: Callable[..., Any],
    tmp_path: Path,
    name: str,
) -> None:
    """Computed literally, without any fusion; symmetric grids cost a bit."""
    net = quantized("resnet18")

    path = saved(net.model, target(name), tmp_path)

    found = asked(path, net.images, optimized=False)
    assert decibels(net.answers, found) > {"arm64": 60, "jetson": 20}[name]
    assert int8_macs_fraction(path) == 1.0


def test_tensorrt_gets_symmetric_int8_and_float_biases(
    quantized: Callable[[str], Any], tmp_path: Path
) -> None:
    """It refuses zero points other than 0 and integer biases."""
    graph = onnx.load(
        saved(quantized("resnet18").model, TARGETS["jetson-orin"], tmp_path)
    ).graph
    stored = {each.name: numpy_helper.to_array(each) for each in graph.initializer}

    for node in graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            zero = stored[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
    for node in graph.node:
        if node.op_type == "Conv":
            assert stored[node.input[2]].dtype == np.float32


def test_arm_gets_int8_activations(
    quantized: Callable[[str], Any], tmp_path: Path
) -> None:
    """No uint8 anywhere in the file."""
    path = saved(quantized("resnet18").model, TARGETS["generic-arm64"], tmp_path)

    kinds = {each.data_type for each in onnx.load(path).graph.initializer}
    assert TensorProto.UINT8 not in kinds
    assert TensorProto.INT8 in kinds


def test_scales_of_activations_are_the_same_in_every_file(
    quantized: Callable[[str], Any], tmp_path: Path
) -> None:
    """Two variants of one model share their grids."""
    model = quantized("mobilenetv3_small_050").model
    scales = []
    for each in (VNNI, AVX2, TARGETS["generic-arm64"]):
        graph = onnx.load(saved(model, each, tmp_path)).graph
        stored = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        scales.append(
            [
                float(stored[node.input[1]])
                for node in graph.node
                if node.op_type == "QuantizeLinear"
            ]
        )
    assert scales[0] == scales[1] == scales[2]


def test_names_tell_the_node_of_the_graph(
    quantized: Callable[[str], Any], tmp_path: Path
) -> None:
    """A file, a scheme and a placement speak of the same nodes."""
    net = quantized("resnet18")
    graph = onnx.load(saved(net.model, VNNI, tmp_path)).graph

    convolutions = {node.name for node in graph.node if node.op_type == "Conv"}
    nodes = {node.name for node in net.graph.graph.nodes}
    assert {name.removesuffix("/Conv") for name in convolutions} <= nodes
    stored = {each.name for each in graph.initializer}
    assert {"layer1_0_conv1.weight", "fc.weight", "fc.bias"} <= stored


def test_the_same_bytes_every_time(
    quantized: Callable[[str], Any], tmp_path: Path
) -> None:
    """Counters and order leave no trace; facts and sidecar name the target."""
    model = quantized("resnet18").model
    contents = []
    for turn in ("one", "two"):
        artifact = write_onnx(
            lowered(model, VNNI),
            path=tmp_path / f"{turn}.onnx",
            classes=tuple("abcdefghij"),
            preprocess=Preprocess(size=64, resize=64),
            recipe_sha256="12" * 32,
            name="resnet18",
            dtype="int8",
            target=VNNI,
        )
        contents.append(artifact.path.read_bytes())
    assert contents[0] == contents[1]
    artifact.sidecar.unlink()
    found = Artifact.read(artifact.path)
    assert (found.dtype, found.target) == ("int8", "x86-vnni")
    assert found.size_bytes < 1.05 * 11_181_642 - 5_000


def test_a_bias_beside_weights_of_nothing_is_kept() -> None:
    """As other quantizers write it: a filter of zeros whose scale is no measure."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (3, 2, 1, 1)).astype(np.int8)
    codes[0] = 0
    constants = {
        "scale": np.array(0.02, np.float32),
        "zero": np.array(0, np.int8),
        "codes": codes,
        "scales": np.array([1e-12, 0.01, 0.01], np.float32),
        "zeros": np.zeros(3, np.int8),
        "bias": np.array([1.5, 0.3, -0.2], np.float32),
    }
    grid, weight = ["scale", "zero"], ["codes", "scales", "zeros"]
    nodes = [
        helper.make_node("QuantizeLinear", ["image", *grid], ["q"], name="in/q"),
        helper.make_node("DequantizeLinear", ["q", *grid], ["x"], name="in/dq"),
        helper.make_node("DequantizeLinear", weight, ["w"], name="c/w", axis=0),
        helper.make_node("Conv", ["x", "w", "bias"], ["y"], name="c/Conv"),
        helper.make_node("QuantizeLinear", ["y", *grid], ["r"], name="c/q"),
        helper.make_node("DequantizeLinear", ["r", *grid], ["logits"], name="c/dq"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 4, 4])
        for name, channels in (("image", 2), ("logits", 3))
    ]
    values = [numpy_helper.from_array(v, name) for name, v in constants.items()]
    graph = helper.make_graph(nodes, "dead", ends[:1], ends[1:], values)
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    image = rng.uniform(-1, 1, (1, 2, 4, 4)).astype(np.float32)

    low = lowered(model, VNNI)
    session = onnxruntime.InferenceSession(
        low.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"image": image})

    real = constants["scales"].astype(np.float64)[:, None] * codes[:, :, 0, 0]
    read = np.rint(image / 0.02) * 0.02
    sums = np.einsum("oi,nihw->nohw", real, read)
    want = sums + constants["bias"][:, None, None]
    want = np.clip(want, -128 * 0.02, 127 * 0.02)
    np.testing.assert_allclose(found, want, rtol=0, atol=0.0101)  # half a step


def test_a_float_model_is_refused_in_a_sentence() -> None:
    """There is nothing to lower."""
    node = helper.make_node("Relu", ["image"], ["logits"])
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3])
        for name in ("image", "logits")
    ]
    model = helper.make_model(helper.make_graph([node], "plain", ends[:1], ends[1:]))

    with pytest.raises(InputRejectedError, match="no quantized tensor; quantize it"):
        lowered(model, VNNI)


def test_a_target_of_another_format_is_refused() -> None:
    """TFLite files are not lowered here."""
    with pytest.raises(RecipeError, match="'android-arm64' reads tflite files"):
        lowered(onnx.ModelProto(), TARGETS["android-arm64"])


QEMU = "qemu-x86_64"
# A program of its own, so that it can run on the CPU that QEMU plays.
ASKED = """
import sys, numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
images = np.load(sys.argv[2])
np.save(sys.argv[3], session.run(None, {"image": images})[0])
"""


@pytest.mark.slow
@ON_X86
def test_on_a_cpu_without_vnni_the_avx2_file_keeps_every_answer(
    quantized: Callable[[str], Any], tmp_path: Path
) -> None:
    """QEMU plays a Haswell: 104 images, the same bits as the simulation."""
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not installed (Debian: qemu-user)")
    net = quantized("resnet18")
    many = np.random.default_rng(5).standard_normal((104, 3, 64, 64), np.float32)
    np.save(tmp_path / "images.npy", many)
    native = {}
    emulated = {}
    for each in (VNNI, AVX2):
        path = saved(net.model, each, tmp_path)
        for found, prefix in ((native, []), (emulated, [QEMU, "-cpu", "Haswell"])):
            out = tmp_path / f"{each.name}.npy"
            subprocess.run(
                [
                    *(*prefix, sys.executable, "-c", ASKED),
                    *(str(path), str(tmp_path / "images.npy"), str(out)),
                ],
                check=True,
                capture_output=True,
            )
            found[each.name] = np.load(out)

    np.testing.assert_array_equal(native["x86-avx2"], native["x86-vnni"])
    np.testing.assert_array_equal(emulated["x86-avx2"], native["x86-vnni"])
    # The reason for the variant: without VNNI, the other file's sums saturate.
    assert not np.array_equal(emulated["x86-vnni"], native["x86-vnni"])
