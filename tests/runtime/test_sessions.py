import os
import struct
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.artifact import Artifact
from runtime.backends.__main__ import listed
from runtime.backends.litert import imported
from runtime.backends.table import BACKENDS
from runtime.errors import (
    DeviceError,
    InputRejectedError,
    MissingDependencyError,
    RecipeError,
)
from runtime.files import write_json
from runtime.preprocess import Preprocess
from runtime.requirements import pip_line
from runtime.session import open_session

Array = npt.NDArray[np.float32]
INT8 = "weights/mobilenet_v2_torchvision_int8_1x3x224x224.tflite"
UINT8 = "weights/mobilenet_v1_0.25_128_quant.tflite"


def linear(path: Path, *, batch: int | str = "n") -> tuple[Array, Array]:
    """Write `flatten(x) @ w + b` for x [batch, 3, 4, 4] to `path`; give w and b."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((48, 5)).astype(np.float32)
    bias = rng.standard_normal(5).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "w", "b"], ["y"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    helper.set_model_props(model, {"classes": '["a", "b"]', "recipe_sha256": "f00"})
    onnx.save(model, path)
    return weight, bias


@pytest.mark.parametrize("batch", ["n", 1, 2])
def test_an_onnx_session_computes_what_numpy_computes(
    tmp_path: Path, batch: int | str
) -> None:
    """Five images, whatever number the file takes at a time."""
    weight, bias = linear(tmp_path / "net.onnx", batch=batch)
    images = np.random.default_rng(1).standard_normal((5, 3, 4, 4)).astype(np.float32)

    session = open_session(tmp_path / "net.onnx")

    assert session.input_shape == (1 if batch == "n" else batch, 3, 4, 4)
    scores = session.run(images)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, images.reshape(5, 48) @ weight + bias, rtol=1e-4)
    session.close()


def test_a_bound_onnx_inference_is_the_same_inference(tmp_path: Path) -> None:
    linear(tmp_path / "net.onnx", batch=1)
    session = open_session(tmp_path / "net.onnx")
    image = np.ones(session.input_shape, np.float32)
    (scores,) = session.bind(image)()  # type: ignore[misc]
    np.testing.assert_array_equal(scores, session.run(image))


def test_a_batch_that_does_not_fit_is_a_sentence(tmp_path: Path) -> None:
    linear(tmp_path / "net.onnx")
    session = open_session(tmp_path / "net.onnx")
    with pytest.raises(InputRejectedError, match=r"takes \[n, 3, 4, 4\].*layout"):
        session.run(np.zeros((1, 4, 4, 3), np.float32))


def quantised(values: Array, detail: dict[str, object]) -> npt.NDArray[np.generic]:
    """The TFLite rule, q = round(x / scale) + zero point, written down once more."""
    scale, zero = detail["quantization"]  # type: ignore[misc]
    dtype = np.dtype(detail["dtype"])  # type: ignore[call-overload]
    grid = np.round(values.astype(np.float64) / scale) + zero  # type: ignore[has-type]
    lowest, highest = np.iinfo(dtype).min, np.iinfo(dtype).max
    return np.clip(grid, lowest, highest).astype(dtype)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "shape"), [(INT8, (1, 3, 224, 224)), (UINT8, (1, 128, 128, 3))]
)
def test_a_tflite_session_quantises_as_the_interpreter_by_hand(
    shared_data: Path, name: str, shape: tuple[int, ...]
) -> None:
    """NCHW and int8, NHWC and uint8; the oracle drives the interpreter itself."""
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    path = shared_data / name
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    by_hand = interpreter_module.Interpreter(str(path), num_threads=1)
    by_hand.allocate_tensors()
    (source,), (result,) = by_hand.get_input_details(), by_hand.get_output_details()
    by_hand.set_tensor(source["index"], quantised(image, source))
    by_hand.invoke()
    scale, zero = result["quantization"]
    expected = (by_hand.get_tensor(result["index"]).astype(np.float64) - zero) * scale

    session = open_session(path)

    assert session.input_shape == shape
    scores = session.run(np.concatenate([image, image]))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, np.concatenate([expected] * 2), rtol=1e-5)
    np.testing.assert_array_equal(
        session.bind(image)(), by_hand.get_tensor(result["index"])
    )
    session.close()


@pytest.mark.parametrize(
    ("modules", "suffix", "extra"),
    [
        (["onnxruntime"], ".onnx", "onnx"),
        (
            [
                "tensorflow.lite.python.interpreter",
                *(
                    f"{package}{module}"
                    for package in ("ai_edge_litert", "tflite_runtime")
                    for module in ("", ".interpreter")
                ),
            ],
            ".tflite",
            "tflite",
        ),
    ],
)
def test_a_missing_interpreter_is_named_with_its_extra(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    modules: list[str],
    suffix: str,
    extra: str,
) -> None:
    path = tmp_path / f"net{suffix}"
    if suffix == ".onnx":
        linear(path)
    else:
        path.write_bytes(b"\0\0\0\0TFL3")
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError) as found:
        open_session(path)
    assert pip_line(extra) in str(found.value)


def test_where_only_tensorflow_is_its_interpreter_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its distribution may be called tensorflow-cpu: then the module tells."""
    for package in ("ai_edge_litert", "tflite_runtime"):
        for module in ("", ".interpreter"):
            monkeypatch.setitem(sys.modules, f"{package}{module}", None)
    parts = ["tensorflow", "lite", "python", "interpreter"]
    for end in range(1, 5):
        name = ".".join(parts[:end])
        made = ModuleType(name)
        made.__path__ = []
        monkeypatch.setitem(sys.modules, name, made)
    sys.modules["tensorflow"].__version__ = "2.99"  # type: ignore[attr-defined]
    made.Interpreter = object  # type: ignore[attr-defined]
    kind, name = imported(tmp_path / "a.tflite")
    assert kind is object
    assert name == "tensorflow 2.99"


def test_threads_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="threads: 0"):
        open_session(tmp_path / "net.onnx", threads=0)


def test_an_artifact_reads_back_what_its_twin_says(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    linear(path)
    bare = Artifact.read(path)
    full = Artifact(
        path=path,
        format="onnx",
        sha256=bare.sha256,
        size_bytes=path.stat().st_size,
        dtype="float32",
        target="local",
        classes=("cat", "dog"),
        preprocess=Preprocess(size=4, resize=5),
        recipe_sha256="abc",
        versions={"torch": "2.13.0"},
    )
    full.write_twin()
    assert (tmp_path / "net.onnx.json").exists()
    assert Artifact.read(path) == full


def test_without_a_twin_the_files_own_metadata_counts(tmp_path: Path) -> None:
    linear(tmp_path / "net.onnx")
    artifact = Artifact.read(tmp_path / "net.onnx")
    assert artifact.classes == ("a", "b")
    assert artifact.recipe_sha256 == "f00"
    assert artifact.dtype == "float32"


def test_weights_in_8_bits_make_an_int8_file(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.int8), "w")
    scale = numpy_helper.from_array(np.ones(8, np.float32), "s")
    graph = helper.make_graph(
        [helper.make_node("DequantizeLinear", ["w", "s"], ["y"], axis=0)],
        "weights",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 3, 3, 3])],
        [weight, scale],
    )
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    assert Artifact.read(tmp_path / "net.onnx").dtype == "int8"


def test_a_file_that_its_twin_does_not_describe_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    linear(path)
    Artifact.read(path).write_twin()
    path.write_bytes(path.read_bytes().replace(b"linear", b"lineal"))
    with pytest.raises(InputRejectedError, match=r"sha256 is .* the file was changed"):
        Artifact.read(path)


def test_an_onnx_file_cut_off_anywhere_is_rejected(tmp_path: Path) -> None:
    """Whole but for its last byte, down to the empty file."""
    linear(tmp_path / "whole.onnx")
    whole = (tmp_path / "whole.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    metadata = whole.index(b"classes")  # what follows the graph may be lost unnoticed
    for length in [*range(0, metadata - 10, 37), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(InputRejectedError):
            open_session(cut)


@pytest.mark.parametrize(
    "content",
    [
        b"\x1c\0\0\0TFL3",
        b"\x38\0\0\0ET12",
        # A program of 100 bytes, and 28 of weights from 112 on.
        b"\x38\0\0\0ET12eh00" + struct.pack("<I3Q", 32, 100, 112, 28) + bytes(60),
    ],
)
def test_a_file_shorter_than_it_says_is_rejected_before_any_interpreter(
    content: bytes, tmp_path: Path
) -> None:
    """ExecuTorch takes half a minute to load, and then says `error 0x12`."""
    path = tmp_path / ("net.tflite" if b"TFL3" in content else "net.pte")
    path.write_bytes(content)
    with pytest.raises(InputRejectedError, match=f"is cut off: {len(content)} bytes"):
        Artifact.read(path)
    path.write_bytes(content + bytes(60))
    assert Artifact.read(path).size_bytes == len(content) + 60


def test_a_name_that_no_interpreter_opens_is_a_sentence(tmp_path: Path) -> None:
    """File systems keep bytes; LiteRT and ONNX Runtime want UTF-8, in folders, too."""
    for place in (b"net\xff.tflite", b"net\xff.onnx", b"a\xff/net.tflite"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + place))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\0\0\0\0TFL3")
        with pytest.raises(RecipeError, match="no name in UTF-8"):
            Artifact.read(path)


@pytest.mark.parametrize(
    "fact",
    [
        {"dtype": "int3"},
        {"format": "tflite"},
        {"classes": "cat"},
        {"preprocess": {"sise": 3}},
        {"versions": [1]},
        {"target": 3},
    ],
)
def test_a_twin_with_a_wrong_fact_is_rejected(
    tmp_path: Path, fact: dict[str, object]
) -> None:
    linear(tmp_path / "net.onnx")
    artifact = Artifact.read(tmp_path / "net.onnx")
    write_json(artifact.twin, {**artifact.as_record(), **fact})
    with pytest.raises(InputRejectedError):
        Artifact.read(tmp_path / "net.onnx")


def test_openvino_is_a_second_runtime(tmp_path: Path) -> None:
    """What the format's own runtime answers is the oracle."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed: [openvino]")
    linear(tmp_path / "net.onnx")
    path = tmp_path / "net.onnx"
    own, other = open_session(path), open_session(path, runtime="openvino")
    assert other.runtime.startswith("openvino ")
    assert other.input_shape == own.input_shape
    rng = np.random.default_rng(2)
    images = rng.standard_normal((3, *own.input_shape[1:])).astype(np.float32)
    wanted, found = own.run(images), other.run(images)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert (found.argmax(1) == wanted.argmax(1)).all()
    once = other.bind(images[: own.input_shape[0]])
    assert np.allclose(next(iter(once().values())), found[: own.input_shape[0]])  # type: ignore[attr-defined]


def test_openvino_takes_no_integers_from_us(shared_data: Path) -> None:
    """It does not tell the grid of an int8 input, so nobody could round to it."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed: [openvino]")
    with pytest.raises(InputRejectedError, match=r"inputs are \(i8\); allowed with"):
        open_session(shared_data / INT8, runtime="openvino")


@pytest.mark.parametrize(
    ("runtime", "kind", "says"),
    [
        ("litert", RecipeError, "does not execute net.onnx; runtimes of onnx files: "),
        ("tensorflow", RecipeError, "not known; known: onnxruntime, litert"),
        ("onnxruntime-cuda", DeviceError, "built without CUDAExecutionProvider; it "),
    ],
)
def test_a_runtime_that_cannot_is_refused(
    tmp_path: Path, runtime: str, kind: type[Exception], says: str
) -> None:
    """A provider that is missing would otherwise be left out in silence."""
    linear(tmp_path / "net.onnx")
    with pytest.raises(kind, match=says):
        open_session(tmp_path / "net.onnx", runtime=runtime)


def test_every_runtime_is_there_or_says_why_not() -> None:
    found = {str(each["name"]): each for each in listed()}
    assert found.keys() == BACKENDS.keys()
    for name, each in found.items():
        assert (each["version"] is None) != (each["reason"] is None)
        assert each["version"] or str(each["reason"]).startswith(f"--runtime {name}: ")
    assert found["onnxruntime"]["version"] == f"onnxruntime {version('onnxruntime')}"
