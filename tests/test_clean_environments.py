"""Environments as boards have them: the wheel, numpy and one interpreter each.

The same two INT8 files in all of them, each by its own self-test: what the network
answered in torch is the oracle.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from compress.cli.main import main
from runtime.classifying import classify
from runtime.errors import Exit

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Interpreter:
    """What is installed, and the format that it runs."""

    name: str
    format: str
    requirements: tuple[str, ...]


INTERPRETERS = (
    Interpreter("onnxruntime", "onnx", ("numpy", "onnxruntime")),
    Interpreter("ai-edge-litert", "tflite", ("numpy", "ai-edge-litert")),
    # The last of its name, from before numpy 2 and for Python 3.11 at most.
    Interpreter("tflite-runtime", "tflite", ("numpy<2", "tflite-runtime==2.14.0")),
)


@dataclass(frozen=True)
class Board:
    """A Python of its own, far from this checkout."""

    python: Path

    def run(self, *words: str, here: Path) -> subprocess.CompletedProcess[str]:
        """`python -m runtime` in the folder `here`."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        return subprocess.run(
            [str(self.python), "-m", "runtime", *words],
            capture_output=True,
            text=True,
            cwd=here,
            env=clean,
            check=False,
        )


def board(folder: Path, *requirements: str, wheel: Path | None) -> Board:
    """An environment of this Python with nothing else, by the pip that is here."""
    made = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(made, check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    wanted = [[*pip, "--only-binary", ":all:", *requirements]]
    if wheel is not None:
        wanted.append([*pip, "--no-deps", "--no-index", str(wheel)])
    for command in wanted:
        done = subprocess.run(
            command, capture_output=True, text=True, env=clean, check=False
        )
        if done.returncode and "--no-index" not in command:
            pytest.skip(f"pip cannot install {requirements}: {done.stderr[-200:]}")
        assert done.returncode == 0, done.stderr
    return Board(python)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """LeNet-5 in INT8, by format, as `quantize` leaves it."""
    out = tmp_path_factory.mktemp("run") / "run"
    words = ["quantize", "--model", "lenet5", "--calib-images", "16", "-q"]
    code = main([*words, "--to", "onnx,tflite", "--out", str(out)])
    assert code in {Exit.FIT, Exit.BUDGET}
    found = {
        path.suffix[1:]: path
        for path in (out / "artifacts").iterdir()
        if "int8" in path.name and path.suffix != ".json"
    }
    assert set(found) == {"onnx", "tflite"}
    return found


@pytest.mark.parametrize("one", INTERPRETERS, ids=lambda each: each.name)
def test_an_interpreter_alone_answers_as_the_network_did(
    one: Interpreter, files: dict[str, Path], wheel: Path, tmp_path: Path
) -> None:
    """Within one INT8 step; classifying needs no more, and measuring neither."""
    there = board(tmp_path / "venv", *one.requirements, wheel=wheel)
    # Without its sidecar: a file that travels alone says all of it.
    file = shutil.copy(files[one.format], tmp_path)
    np.save(tmp_path / "gray.npy", np.full((40, 33), 128, np.uint8))

    done = there.run("--check", "--json", file, here=tmp_path)
    assert done.returncode == Exit.FIT, done.stdout + done.stderr
    (checked,) = json.loads(done.stdout)["checks"]
    assert checked["runtime"].startswith(one.name)
    assert checked["error_steps"] <= 1

    done = there.run("--classify", "--json", "gray.npy", file, here=tmp_path)
    assert done.returncode == Exit.FIT, done.stderr
    (answer,) = json.loads(done.stdout)["answers"]
    (here,) = classify([Path(file)], [tmp_path / "gray.npy"]).answers
    assert answer["classes"][0]["label"] == here.guesses[0].label

    done = there.run("--runs", "10", "--force", "-q", file, here=tmp_path)
    assert done.returncode == Exit.FIT, done.stderr
    assert one.name in done.stdout

    done = there.run("--layers", file, here=tmp_path)
    if one.name == "tflite-runtime":  # whose XNNPACK does not run every cut
        assert done.returncode in {Exit.FIT, Exit.REJECTED}, done.stderr
    else:
        assert done.returncode == Exit.FIT, done.stderr
    assert one.name in done.stdout + done.stderr

    others = {"torch", "PIL", "onnx", "pydantic"} - {one.name}
    listed = {each.name for each in tmp_path.glob("venv/lib/*/site-packages/*")}
    assert not others & listed


def test_a_folder_that_was_only_copied_works(
    files: dict[str, Path], tmp_path: Path
) -> None:
    """No wheel, no metadata: `runtime/` beside the file, numpy and an interpreter."""
    there = board(tmp_path / "venv", "numpy", "onnxruntime", wheel=None)
    shutil.copytree(
        Path(__file__).parents[1] / "runtime",
        tmp_path / "runtime",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    file = shutil.copy(files["onnx"], tmp_path)
    for words in (["--check"], ["--layers"], ["--runs", "10", "--force", "-q"]):
        done = there.run(*words, file, here=tmp_path)
        assert done.returncode == Exit.FIT, done.stdout + done.stderr

    done = there.run("--check", str(files["tflite"]), here=tmp_path)
    assert done.returncode == Exit.MISSING
    assert "pip install 'ai-edge-litert'" in done.stderr

    done = there.run("--classify", "a.jpg", file, here=tmp_path)
    assert done.returncode == Exit.USAGE
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(40))
    done = there.run("--classify", "a.jpg", file, here=tmp_path)
    assert done.returncode == Exit.MISSING
    assert "pip install pillow" in done.stderr


def test_a_python_that_is_too_old_is_told_so(tmp_path: Path) -> None:
    """In a sentence that Python 3.9 can read; it is the oldest that boards bring."""
    python = next(Path.home().glob(".pyenv/versions/3.9*/bin/python"), None)
    python = python or shutil.which("python3.9")
    if python is None:
        pytest.skip("python3.9 is not here; apt or pyenv have it")
    shutil.copytree(Path(__file__).parents[1] / "runtime", tmp_path / "runtime")
    done = Board(Path(python)).run("--help", here=tmp_path)
    assert done.returncode == Exit.MISSING
    assert "needs Python 3.10 or newer, this is 3.9" in done.stderr
    assert done.stderr.count("\n") == 1
