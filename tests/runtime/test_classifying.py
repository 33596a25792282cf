"""`--classify`: labels and scores of images, without anything of training."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.__main__ import main
from runtime.errors import Exit
from runtime.preprocess import Preprocess

FED = Preprocess(size=4, resize=4, mean=(0.0,) * 3, std=(1.0,) * 3)
COLORS = ("red", "green", "blue")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A network whose scores are ten times the mean of each color."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"], axis=1),
            helper.make_node("Mul", ["flat", "ten"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.float32(10), "ten")],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    for key, value in (("preprocess", FED.as_record()), ("classes", COLORS)):
        model.metadata_props.add(key=key, value=json.dumps(value))
    onnx.save(model, tmp_path / "colors.onnx")
    return tmp_path / "colors.onnx"


def image(folder: Path, color: tuple[int, int, int]) -> Path:
    path = folder / f"{'-'.join(map(str, color))}.npy"
    np.save(path, np.full((9, 7, 3), color, np.uint8))
    return path


def test_images_are_named_by_the_best_class(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Means and their softmax by hand; images and files may stand in any order."""
    blue = image(tmp_path, (0, 51, 255))
    green = image(tmp_path, (51, 255, 0))
    code = main(["--classify", "--json", str(blue), str(file), str(green)])
    assert code == Exit.FIT
    first, second = json.loads(capsys.readouterr().out)["answers"]
    assert (first["image"], second["image"]) == (blue.name, green.name)
    assert [each["label"] for each in first["classes"]] == ["blue", "green", "red"]
    assert [each["label"] for each in second["classes"]] == ["green", "red", "blue"]
    assert [each["score"] for each in first["classes"]] == pytest.approx([10, 2, 0])
    shares = np.exp([10, 2, 0]) / np.exp([10, 2, 0]).sum()
    assert [e["share"] for e in first["classes"]] == pytest.approx(shares.tolist())


def test_a_person_reads_per_cents(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--classify", str(file), str(image(tmp_path, (255, 0, 0)))])
    assert "99.99 %  red" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["FILE"], "no image among 1 files"),
        (["IMAGE"], "no model file (.onnx or .tflite) among 1 files"),
        (["FILE", "IMAGE", "--check"], "--check and --classify: give one of them"),
        (["FILE", "nowhere.jpg"], "nowhere.jpg: no such file"),
    ],
)
def test_what_cannot_be_classified_is_a_sentence(
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    known = {"FILE": str(file), "IMAGE": str(image(tmp_path, (255, 0, 0)))}
    code = main(["--classify", *(known.get(word, word) for word in words)])
    assert code == Exit.USAGE
    assert told in capsys.readouterr().err
