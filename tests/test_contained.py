"""A model file from elsewhere may crash, eat memory or never end; we say so and go on.

Each kind goes through the real entry points, in processes of their own.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper
from PIL import Image

from runtime.artifact import Artifact
from runtime.contained import Limits, contained, try_out
from runtime.errors import DeviceError, InputRejectedError
from runtime.files import cache_folder, sha256_of

ROOT: Final = Path(__file__).parents[1]
GB: Final = 10**9
SIDE: Final = 8
CLASSES: Final = 192


def an_onnx_file(
    path: Path, *nodes: onnx.NodeProto, **numbers: tuple[int, ...]
) -> Path:
    """A graph from `x` [1, 3, 8, 8] to `y` [1, 192], its INT64 constants by name."""
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [len(value)], value)
        for name, value in numbers.items()
    ]
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CLASSES])],
        constants,
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def harmless(path: Path) -> Path:
    """It only flattens its image."""
    return an_onnx_file(path, helper.make_node("Flatten", ["x"], ["y"]))


def endless(path: Path) -> Path:
    """A loop of 2^62 rounds."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Identity", ["in"], ["out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("out", TensorProto.FLOAT, None),
        ],
    )
    return an_onnx_file(
        path,
        helper.make_node("Loop", ["rounds", "", "x"], ["z"], body=body),
        helper.make_node("Flatten", ["z"], ["y"]),
        rounds=(2**62,),
    )


def huge(path: Path) -> Path:
    """Some hundred bytes that ask for 16 GB."""
    return an_onnx_file(
        path,
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceMean", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Add", ["flat", "zero"], ["y"]),
        size=(2**32,),
    )


def crashing(path: Path) -> Path:
    """A TFLite file whose graph holds itself: LiteRT's stack overflows."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    code, node, choice = schema.OperatorCodeT(), schema.OperatorT(), schema.IfOptionsT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.IF
    choice.thenSubgraphIndex = choice.elseSubgraphIndex = 0
    node.inputs, node.outputs = [2, 0], [1]
    node.builtinOptionsType, node.builtinOptions = (
        schema.BuiltinOptions.IfOptions,
        choice,
    )
    empty, true = schema.BufferT(), schema.BufferT()
    true.data = [1]
    image = [1, SIDE, SIDE, 3]
    real, choose = schema.TensorType.FLOAT32, schema.TensorType.BOOL
    graph.tensors = []
    for shape, kind in ((image, real), (image, real), ([1], choose)):
        tensor = schema.TensorT()
        tensor.shape, tensor.type = shape, kind
        tensor.buffer = int(kind == choose)
        graph.tensors.append(tensor)
    graph.inputs, graph.outputs, graph.operators = [0], [1], [node]
    model.version, model.operatorCodes = 3, [code]
    model.buffers, model.subgraphs = [empty, true], [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def described(path: Path, *, classes: int = CLASSES) -> Path:
    """With facts beside it, as a foreign folder may carry: they vouch for nothing."""
    layout = "NHWC" if path.suffix == ".tflite" else "NCHW"
    fed = {"size": SIDE, "resize": SIDE, "mean": [0.5] * 3, "std": [0.5] * 3}
    facts = {
        "sha256": sha256_of(path),
        "size_bytes": path.stat().st_size,
        "format": path.suffix[1:],
        "classes": [str(number) for number in range(classes)],
        "preprocess": {**fed, "layout": layout},
    }
    path.with_name(path.name + ".json").write_text(json.dumps(facts))
    return path


def ran(*words: object) -> tuple[int, str, str]:
    """Exit code, stdout and the last line of stderr of one of our programs."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.strip().split("\n")[-1]


def pictures(folder: Path) -> Path:
    """A few images of two classes."""
    rng = np.random.default_rng(0)
    for number in range(24):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("program", [("runtime",), ("compress", "profile")])
@pytest.mark.parametrize(
    ("make", "name", "sentence"),
    [
        (crashing, "a.tflite", "(SIGSEGV)"),
        (huge, "a.onnx", "asks for more than 2.0 GB of memory"),
    ],
)
def test_profile_refuses_what_an_interpreter_does_not_survive(
    program: tuple[str, ...],
    make: Callable[[Path], Path],
    name: str,
    sentence: str,
    tmp_path: Path,
) -> None:
    code, out, told = ran(*program, described(make(tmp_path / name)), "--runs", 20)
    assert (code, out) == (3, "")
    assert sentence in told
    assert "get it again" in told


@pytest.mark.parametrize(
    ("make", "name", "sentence"),
    [
        (crashing, "a.tflite", "(SIGSEGV)"),
        (huge, "a.onnx", "asks for more than 2.0 GB of memory"),
    ],
)
def test_eval_refuses_it(
    make: Callable[[Path], Path], name: str, sentence: str, tmp_path: Path
) -> None:
    file = described(make(tmp_path / name), classes=2)
    data = f"folder:{pictures(tmp_path / 'images')}"
    code, out, told = ran("compress", "eval", "--model", file, "--data", data)
    assert (code, out) == (3, ""), told
    assert sentence in told


@pytest.mark.slow
def test_verify_refuses_it(tmp_path: Path) -> None:
    """A run from elsewhere, whose own records vouch for the file."""
    data = f"folder:{pictures(tmp_path / 'images')}"
    words = ("--model", "lenet5", "--image-size", 32, "--to", "tflite")
    run = tmp_path / "run"
    code, _, told = ran("compress", "export", *words, "--data", data, "--out", run)
    assert code == 0, told
    (file,) = (run / "artifacts").glob("*.tflite")
    described(crashing(file), classes=2)
    (run / "manifest.json").unlink()
    report = run / "report.json"
    record = json.loads(report.read_text())
    record["artifacts"][0]["sha256"] = sha256_of(file)
    report.write_text(json.dumps(record))

    code, out, told = ran("compress", "verify", run, "--data", data)

    assert (code, out) == (3, ""), told
    assert "(SIGSEGV)" in told


@pytest.mark.slow
def test_an_endless_loop_ends(tmp_path: Path) -> None:
    code, out, told = ran("runtime", endless(tmp_path / "a.onnx"), "--runs", 20)
    assert (code, out) == (3, "")
    assert "is not done after 20 s of processor time" in told


def test_time_is_limited_by_the_processor_s_clock(tmp_path: Path) -> None:
    limits = Limits(memory_bytes=GB, cpu_s=1)
    started = time.monotonic()
    with pytest.raises(InputRejectedError, match="after 1 s of processor time"):
        contained(
            "runtime.contained", endless(tmp_path / "a.onnx"), by="x", limits=limits
        )
    assert time.monotonic() - started < 30


def test_what_passed_once_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a byte of it changes, whatever the folder says that it lies in."""
    file = described(harmless(tmp_path / "a.onnx"))
    try_out(Artifact.read(file))
    assert len(list((cache_folder() / "passed").glob("*.json"))) == 1

    monkeypatch.setattr(sys, "executable", "/no/such/python")
    try_out(Artifact.read(file))
    with file.open("ab") as stream:
        stream.write(helper.make_model(onnx.GraphProto()).SerializeToString()[:4])
    with pytest.raises(DeviceError, match="cannot be tried"):
        try_out(Artifact.read(described(file)))


def test_a_user_without_a_home_remembers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs as any number; or whose cache is read-only."""
    file = harmless(tmp_path / "a.onnx")
    (tmp_path / "no folder").touch()
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "no folder"))
    try_out(Artifact.read(file))
    for key in ("EDGEPRESS_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(key, raising=False)

    def nobody() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", nobody)
    try_out(Artifact.read(file))


def test_a_pass_says_nothing_of_parts_in_other_files(tmp_path: Path) -> None:
    """Weights in a file of their own may have been exchanged since."""
    path = tmp_path / "a.onnx"
    weights = onnx.numpy_helper.from_array(np.ones((CLASSES, 4), np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [weights],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.save(
        model, path, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    try_out(Artifact.read(path))
    assert not (cache_folder() / "passed").exists()


def test_a_file_that_merely_fails_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    """The interpreter's own complaint says more than ours would."""
    path = tmp_path / "a.onnx"
    an_onnx_file(path, helper.make_node("Reshape", ["x", "to"], ["y"]), to=(5, 5))
    try_out(Artifact.read(path))
    assert not (cache_folder() / "passed").exists()


def test_a_module_beside_the_user_is_not_imported(tmp_path: Path) -> None:
    """Where files come from there may be a `numpy.py`, too."""
    (tmp_path / "numpy.py").write_text("open('ran', 'w')")
    harmless(tmp_path / "a.onnx")
    code = (
        "import sys; sys.path.pop(0)\n"
        "from pathlib import Path; from runtime.artifact import Artifact\n"
        "from runtime.contained import try_out; from runtime.fresh import fresh\n"
        "try_out(Artifact.read(Path('a.onnx')))\n"
        "print(fresh(Path('a.onnx'), threads=1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Fresh(")
    assert not (tmp_path / "ran").exists()
