import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.fresh import fresh

ROOT = Path(__file__).parents[2]
INT8 = "weights/mobilenet_v1_0.25_128_quant.tflite"


def net(path: Path, *, width: int = 16) -> Path:
    """A linear ONNX file for [n, 3, 8, 8] with `width` outputs."""
    weight = np.ones((192, width), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def runtime(*words: object, hidden: str = "") -> subprocess.CompletedProcess[str]:
    """`python -m runtime` in its own process, where `hidden` cannot be imported."""
    arguments = [str(word) for word in words]
    hide = "".join(f"sys.modules[{name!r}] = None; " for name in hidden.split())
    code = f"import sys; {hide}from runtime.__main__ import main; sys.exit(main())"
    command = ["-c", code] if hidden else ["-m", "runtime"]
    return subprocess.run(
        [sys.executable, *command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_profile_is_one_json_document_as_the_contract_says(tmp_path: Path) -> None:
    done = runtime(net(tmp_path / "a.onnx"), "--json", "--runs", "30")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["measurements"]
    assert found["runs"] >= 30
    assert found["runs"] == len(found["samples_ns"])
    assert found["runtime"].startswith("onnxruntime ")
    median_ms = np.percentile(found["samples_ns"], 50) / 1e6
    assert found["p50_ms"] == pytest.approx(median_ms)
    assert found["peak_rss_bytes"] > found["model_rss_bytes"] >= 0
    assert json.loads(done.stdout)["comparisons"] == []


@pytest.mark.slow
def test_a_long_run_tells_its_course_and_what_was_asked_for_beside_it(
    tmp_path: Path,
) -> None:
    """Forced, since a busy machine drifts. What there is no meter for has a reason."""
    words = ("--sustained", "0.02", "--roofline", "--energy", "pmic", "--force")
    done = runtime(net(tmp_path / "a.onnx"), "--json", *words)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["measurements"]
    assert found["mode"] == found["long"]["mode"] == "sustained"
    assert found["long"]["seconds"] >= 1.2
    assert len(found["long"]["windows"]) >= 4
    assert found["start"]["total_ms"] > found["start"]["first_ms"]
    assert found["roofline"]["macs"] == 192 * 16
    assert found["roofline"]["peaks"]["float_gmacs"] > 0
    assert found["energy"]["mj"] is not None or found["energy"]["reason"]


def test_a_comparison_of_two_formats_names_both(
    tmp_path: Path, shared_data: Path
) -> None:
    small = net(tmp_path / "small.onnx")
    done = runtime("--compare", shared_data / INT8, small, "--json", "--runs", "40")
    assert done.returncode == 0, done.stderr
    (comparison,) = json.loads(done.stdout)["comparisons"]
    assert comparison["b"] == "small.onnx"
    assert comparison["low"] <= comparison["ratio"] <= comparison["high"]
    # 14 million multiply-accumulates against 3 thousand.
    assert comparison["ratio"] > 2


def test_the_text_is_a_table_with_the_machine_below(tmp_path: Path) -> None:
    """The same name in two folders is told apart."""
    (tmp_path / "b").mkdir()
    first, second = net(tmp_path / "a.onnx"), net(tmp_path / "b/a.onnx")
    done = runtime(first, second, "--runs", "20", "-q")
    assert done.returncode == 0
    assert done.stderr == ""
    head, rule, *rows = done.stdout.splitlines()
    assert head.split()[:2] == ["file", "p50"]
    assert set(rule) == {"-"}
    assert str(first)[-30:] in rows[0]
    assert str(second)[-30:] in rows[4]
    assert "Machine: " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_json_is_kept_where_out_says(tmp_path: Path) -> None:
    """What lies there is what stdout would show."""
    out = tmp_path / "new/folder"
    done = runtime(net(tmp_path / "a.onnx"), "--runs", "20", "--json", "--out", out)
    assert (out / "profile.json").read_text(encoding="utf-8") == done.stdout


def bad_file(folder: Path, kind: str) -> Path:
    """A file of the kind that the user should not have given."""
    whole = net(folder / "whole.onnx").read_bytes()
    contents = {
        "empty.onnx": b"",
        "truncated.onnx": whole[: len(whole) // 2],
        "text.onnx": b"<!DOCTYPE html> not found",
        "random.onnx": np.random.default_rng(0).bytes(4096),
        "empty.tflite": b"",
        "truncated.tflite": b"\x20\0\0\0TFL3" + bytes(100),
        "net.pth": b"x",
    }
    path = folder / kind
    if kind in contents:
        path.write_bytes(contents[kind])
    if kind == "changed.onnx":
        path.write_bytes(whole)
        sidecar = {"sha256": "0" * 64, "size_bytes": len(whole)}
        path.with_name("changed.onnx.json").write_text(json.dumps(sidecar))
    return path


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("missing.onnx", 2),
        ("net.pth", 2),
        (".", 2),
        ("empty.onnx", 3),
        ("truncated.onnx", 3),
        ("text.onnx", 3),
        ("random.onnx", 3),
        ("changed.onnx", 3),
        ("empty.tflite", 3),
        ("truncated.tflite", 3),
    ],
)
def test_a_bad_file_is_one_sentence_and_an_exit_code(
    tmp_path: Path, kind: str, code: int
) -> None:
    done = runtime(bad_file(tmp_path, kind))
    assert done.returncode == code
    assert done.stdout == ""
    (sentence,) = done.stderr.strip().splitlines()
    assert sentence.startswith(f"runtime: {tmp_path}")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--compare"], 2, "give two or more"),
        (["--runs", "3"], 2, "runs: 3; allowed: 10 or more"),
        (["--threads", "-1"], 2, "--threads: found '-1'"),
        (["--threads", "0"], 2, "--threads 0; allowed: up to 1024, at least 1"),
        (["--device", "cuda"], 7, "which is cpu"),
        (["--mode", "certified", "--seconds", "9"], 2, "600 or more"),
        (["--sustained", "nan"], 2, "allowed: up to 1440 minutes"),
        (["--energy", "sun"], 2, "known: auto, rapl, ina3221, pmic"),
        (["--energy", "no.csv"], 3, "no.csv: not readable"),
        (["--seconds", "0.0000001"], 7, "give more --seconds"),
    ],
)
def test_a_bad_flag_is_a_sentence_too(
    tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    done = runtime(net(tmp_path / "a.onnx"), *words)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("hidden", "pip"),
    [
        ("onnxruntime", "pip install 'onnxruntime>="),
        ("numpy", "pip install 'numpy>="),
    ],
)
def test_a_missing_library_exits_6_with_the_pip_line(
    tmp_path: Path, hidden: str, pip: str
) -> None:
    done = runtime(net(tmp_path / "a.onnx"), hidden=hidden)
    assert done.returncode == 6
    (sentence,) = done.stderr.strip().splitlines()
    assert pip in sentence


def test_profiling_needs_numpy_and_one_interpreter_only(tmp_path: Path) -> None:
    hidden = "torch onnx tensorflow rich pydantic yaml ai_edge_litert PIL"
    done = runtime(net(tmp_path / "a.onnx"), "--runs", "20", hidden=hidden)
    assert done.returncode == 0, done.stderr


def test_importing_the_runtime_imports_no_framework_and_no_interpreter() -> None:
    """Every module of the package, in a fresh process."""
    modules = [f"runtime.{path.stem}" for path in (ROOT / "runtime").glob("*.py")]
    names = ", ".join(name for name in modules if not name.endswith("__"))
    interpreters = {"onnxruntime", "ai_edge_litert", "tflite_runtime"}
    heavy = {"torch", "onnx", "tensorflow"} | interpreters
    code = f"import sys, {names}; print(sorted({heavy} & sys.modules.keys()))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_peak_memory_grows_with_the_weights_and_not_with_the_parent(
    tmp_path: Path,
) -> None:
    """A parent with 300 MB resident must not show up in its child."""
    ballast = np.ones(300_000_000, np.uint8)
    small = fresh(net(tmp_path / "small.onnx"), threads=1)
    large = fresh(net(tmp_path / "large.onnx", width=50_000), threads=1)
    assert small is not None
    assert large is not None
    assert ballast.nbytes > small.memory.peak_rss_bytes
    grown = large.memory.model_rss_bytes - small.memory.model_rss_bytes
    assert grown >= 192 * 50_000 * 4


def test_memory_of_a_file_that_does_not_load_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no")
    assert fresh(tmp_path / "bad.onnx", threads=1) is None
