"""Scores travel as JSON without losing a bit."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime.answers import answers_of, read_answers
from runtime.errors import Exit, InputRejectedError


@pytest.fixture
def thirds(tmp_path: Path) -> Path:
    """A file whose answers are a third of the pixels."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"], axis=1),
            helper.make_node("Div", ["flat", "three"], ["scores"]),
        ],
        "thirds",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 2, 2])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 12])],
        [helper.make_tensor("three", TensorProto.FLOAT, [], [3.0])],
    )
    opsets = [helper.make_opsetid("", 18)]
    path = tmp_path / "thirds.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_what_comes_back_is_what_was_computed(thirds: Path, tmp_path: Path) -> None:
    """Of another process, through JSON: every bit of every float32."""
    images = np.random.default_rng(0).standard_normal((2, 3, 2, 2), np.float32)
    asked = tmp_path / "images.npy"
    np.save(asked, images)

    done = subprocess.run(
        [sys.executable, "-m", "runtime.answers", str(asked), str(thirds)],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    there = read_answers(done.stdout, source="a test")

    expected = images.reshape(2, 12) / np.float32(3)
    assert np.array_equal(there.scores["thirds.onnx"], expected)
    here = answers_of([thirds], images)
    assert np.array_equal(here.scores["thirds.onnx"], expected)
    assert here.runtimes == there.runtimes


def test_an_error_there_is_a_sentence_with_its_exit_code(tmp_path: Path) -> None:
    """As `python -m runtime` ends, so that it is raised here as its kind."""
    np.save(tmp_path / "images.npy", np.zeros((1, 3, 2, 2), np.float32))
    words = [str(tmp_path / "images.npy"), str(tmp_path / "none.onnx")]

    done = subprocess.run(
        [sys.executable, "-m", "runtime.answers", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )

    assert done.returncode == Exit.USAGE
    assert done.stderr.startswith("runtime: ")
    assert "no such file" in done.stderr


@pytest.mark.parametrize(
    "text", ["[]", '{"machine": {}}', '{"machine":{},"scores":{"a":[["x"]]}}']
)
def test_what_is_no_answer_is_refused(text: str) -> None:
    """Whatever a device prints."""
    with pytest.raises(InputRejectedError, match="a board"):
        read_answers(text, source="a board")
