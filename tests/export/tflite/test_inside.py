"""A look into TFLite files: every INT8 result, and the first that is wrong."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from compress.evaluation.divergence import first_difference
from compress.int8.simulate import QuantizedNet
from export.tflite import flatbuffer
from export.tflite.probe_outputs import looked_into
from runtime.session import open_session

if TYPE_CHECKING:
    from conftest import Quantized

    from runtime.artifact import Artifact

# Operator, place among those of its kind, and the node of the network it stands for.
WEIGHTS = (
    ("CONV_2D", 0, "stem"),
    ("DEPTHWISE_CONV_2D", 0, "depthwise"),
    ("CONV_2D", 1, "squeeze"),
    ("CONV_2D", 3, "project"),
    ("CONV_2D", 5, "right"),
    ("FULLY_CONNECTED", 0, "head"),
)


def tampered(artifact: "Artifact", path: Path, kind: str, place: int) -> "Artifact":
    """A copy of a file in which one operator has the opposite weights."""
    model = flatbuffer.read(artifact.path.read_bytes())
    graph = flatbuffer.graph_of(model)

    def writer(tensor: int) -> object:
        return next((each for each in graph.operators if tensor in each.outputs), None)

    (chosen,) = [
        each
        for each in graph.operators
        if flatbuffer.NAMES[flatbuffer.kind_of(model, each)] == kind
    ][place : place + 1]
    weight = int(chosen.inputs[1])
    unpacked = writer(weight)
    stored = weight if unpacked is None else int(unpacked.inputs[0])  # type: ignore[attr-defined]
    buffer = model.buffers[graph.tensors[stored].buffer]
    turned = -np.frombuffer(bytes(buffer.data), np.int8)
    buffer.data = turned.view(np.uint8)
    path.write_bytes(flatbuffer.written(model))
    return replace(artifact, path=path)


def test_a_look_inside_changes_nothing(
    everything: "Quantized", int8_file: "Artifact"
) -> None:
    """The answer is the file's own; every result lies on the grid that it names."""
    image = everything.channels_last[:1]

    answer, results = looked_into(int8_file, image)

    np.testing.assert_array_equal(answer, open_session(int8_file).run(image))
    grids = {tuple(grid) for grid in everything.scheme.activations.values()}
    named = {tuple(each.grid) for each in results}
    assert len(results) > 20
    assert named >= grids - {tuple(everything.scheme.activations["image"])}


def test_an_honest_file_differs_nowhere(
    everything: "Quantized", int8_file: "Artifact"
) -> None:
    net = QuantizedNet(everything.graph, everything.scheme)

    assert first_difference(net, int8_file, everything.images[:2]) is None


@pytest.mark.parametrize(("kind", "place", "name"), WEIGHTS)
def test_the_operator_with_wrong_weights_is_named(  # noqa: PLR0913, PLR0917  # fixtures
    kind: str,
    place: int,
    name: str,
    everything: "Quantized",
    int8_file: "Artifact",
    tmp_path: Path,
) -> None:
    net = QuantizedNet(everything.graph, everything.scheme)
    wrong = tampered(int8_file, tmp_path / "wrong.tflite", kind, place)

    assert first_difference(net, wrong, everything.images[:1]) == name


def test_a_wrong_grid_is_named_where_it_is_written(
    everything: "Quantized", int8_file: "Artifact", tmp_path: Path
) -> None:
    """The steps are right and stand for other numbers."""
    model = flatbuffer.read(int8_file.path.read_bytes())
    graph = flatbuffer.graph_of(model)
    scale = np.float32(everything.scheme.activations["mul"].scale)
    (gated,) = [each for each in graph.tensors if _scale(each) == scale]
    gated.quantization.zeroPoint = gated.quantization.zeroPoint + 2
    path = tmp_path / "moved.tflite"
    path.write_bytes(flatbuffer.written(model))
    net = QuantizedNet(everything.graph, everything.scheme)

    found = first_difference(net, replace(int8_file, path=path), everything.images[:1])

    assert found == "mul"


def _scale(tensor: object) -> np.float32 | None:
    """The scale of a tensor that lies on one grid."""
    stored = tensor.quantization  # type: ignore[attr-defined]
    known = stored is not None and stored.scale is not None and len(stored.scale) == 1
    return np.float32(stored.scale[0]) if known else None
