"""Files for TensorRT: the network on grids about 0, proven by integers that sum."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from compress.int8.recenter import recentered
from compress.int8.simulate import QuantizedNet, with_qdq
from compress.int8.symmetric import (
    grids_of,
    halved,
    mirrored,
    on_grids_of,
    symmetric,
)
from compress.stand_in import answering
from export.lower import int8_macs_fraction
from export.tensorrt_rules import breaches
from export.to_onnx import to_onnx
from runtime.artifact import Artifact
from runtime.errors import InputRejectedError
from runtime.preprocess import Preprocess
from runtime.target import target

if TYPE_CHECKING:
    from conftest import Quantised, Workshop

SIZE = 32
CLASSES = tuple(f"class {number}" for number in range(10))


class Inverted(nn.Module):
    """A MobileNetV2 in small: clamps at 6, depthwise layers, a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.first = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.narrow = nn.Conv2d(16, 8, 1)
        self.widen = nn.Conv2d(8, 32, 1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.project = nn.Conv2d(32, 8, 1)
        self.head = nn.Linear(8, len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 10]."""
        x = nn.functional.relu6(self.first(nn.functional.relu6(self.stem(images))))
        x = self.narrow(x)
        y = nn.functional.relu6(self.depthwise(nn.functional.relu6(self.widen(x))))
        return self.head((x + self.project(y)).mean((2, 3)))


@pytest.fixture(scope="module")
def inverted(workshop: "Workshop") -> "Quantised":
    """The small network on the grids that other targets read, and images."""
    torch.manual_seed(0)
    images = workshop.pixels(32, SIZE)
    return workshop.quantised(Inverted(), images)


def about_zero(made: "Quantised") -> QuantizedNet:
    """A quantised net on grids for TensorRT, calibrated on its own images."""
    net = QuantizedNet(made.graph, made.scheme)
    return symmetric(net, lambda: made.images.split(8))


def written(net: QuantizedNet, path: Path, *, half: bool = False) -> Artifact:
    """The net's file for a Jetson."""
    return to_onnx(
        with_qdq(net.graph, net.scheme),
        size=SIZE,
        path=path,
        classes=CLASSES,
        preprocess=Preprocess(size=SIZE, resize=SIZE),
        recipe_sha256="12" * 32,
        name="small",
        dtype="int8",
        target=target("jetson"),
        half=half,
    )


def answers_of(net: nn.Module, images: Tensor) -> np.ndarray:
    """What torch computes."""
    with torch.inference_mode():
        return np.asarray(net(images).numpy())


def decibels(want: np.ndarray, have: np.ndarray) -> float:
    """Signal to noise of answers."""
    noise = float(np.square(want - have).sum()) + 1e-30
    return float(10 * np.log10(np.square(want).sum() / noise))


def test_the_file_answers_as_its_network_to_the_bit(
    inverted: "Quantised", tmp_path: Path
) -> None:
    """ONNX Runtime, on sums of codes, against torch; and the grids are good ones."""
    net = about_zero(inverted)
    artifact = written(net, tmp_path / "small.onnx")

    have = answering(artifact).run(inverted.images.numpy())

    np.testing.assert_array_equal(have, answers_of(net, inverted.images))
    in_float = answers_of(inverted.net, inverted.images)
    assert decibels(in_float, have) > 25


def test_gates_and_concatenations_lose_nothing_but_a_sigmoids_last_bit(
    everything: "Quantised", tmp_path: Path
) -> None:
    """h-swish, squeeze and excite, SiLU, padded pools, concat, shuffle."""
    net = about_zero(everything)
    artifact = written(net, tmp_path / "everything.onnx")

    have = answering(artifact).run(everything.images.numpy())

    want = answers_of(net, everything.images)
    assert decibels(want, have) > 45
    assert (want.argmax(1) == have.argmax(1)).all()


@pytest.mark.parametrize("name", ["inverted", "everything"])
def test_every_rule_is_kept_and_weights_are_stored_in_int8(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Read off the file, not off the rewrites that made it."""
    net = about_zero(request.getfixturevalue(name))

    model = onnx.load(written(net, tmp_path / "small.onnx").path)

    assert breaches(model) == ()
    stored = {each.name: each for each in model.graph.initializer}
    behind = {node.output[0]: node.input[0] for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type in {"Conv", "Gemm"}:
            group = next((a.i for a in node.attribute if a.name == "group"), 1)
            weight = stored[behind.get(node.input[1], node.input[1])]
            # Depthwise layers behind a clamp are read in float: see symmetric.py.
            assert weight.data_type == TensorProto.INT8 or group > 1
    for node in model.graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            zero = numpy_helper.to_array(stored[node.input[2]])
            assert zero.dtype == np.int8
            assert not zero.any()


def test_a_residual_rounds_its_skip_and_not_what_its_convolution_gives(
    inverted: "Quantised", tmp_path: Path
) -> None:
    """TensorRT fuses such a sum with the convolution, and no other."""
    graph = onnx.load(written(about_zero(inverted), tmp_path / "a.onnx").path).graph
    writer = {name: node for node in graph.node for name in node.output}
    (total,) = [node for node in graph.node if node.op_type == "Add"]

    kinds = [writer[name].op_type for name in total.input]

    assert sorted(kinds) == ["Conv", "DequantizeLinear"]
    assert writer[total.input[kinds.index("Conv")]].name == "project/Conv"


def test_moving_zero_points_into_biases_changes_nothing(inverted: "Quantised") -> None:
    """The graph before and after, on weights that are rounded as in files."""
    graph, scales = recentered(inverted.graph, inverted.scheme)

    before = answers_of(inverted.graph, inverted.images)
    after = answers_of(graph, inverted.images)

    # What reads them pads nothing: 1x1 convolutions behind the depthwise ones.
    assert len(scales) == 2
    # The rounded weights' sums differ a little from those of the weights.
    assert decibels(before, after) > 30
    ends = [node.args[1] for node in graph.graph.nodes if node.name in scales]
    assert all(end < 0 for end in ends)


def test_a_report_gives_back_the_grids(inverted: "Quantised") -> None:
    """Verified later, on the same grids and float layers."""
    net = about_zero(inverted)
    record = grids_of(net)
    assert record is not None

    again = on_grids_of(QuantizedNet(inverted.graph, inverted.scheme), record)

    want = answers_of(net, inverted.images)
    np.testing.assert_array_equal(answers_of(again, inverted.images), want)
    assert grids_of(QuantizedNet(inverted.graph, inverted.scheme)) is None
    with pytest.raises(InputRejectedError, match="no positive number"):
        on_grids_of(net, {"scales": {"image": -1.0}})


def test_without_images_ranges_are_widened(inverted: "Quantised") -> None:
    """Coarser than what is calibrated, but no nonsense."""
    net = mirrored(QuantizedNet(inverted.graph, inverted.scheme))

    in_float = answers_of(inverted.net, inverted.images)

    assert decibels(in_float, answers_of(net, inverted.images)) > 20
    assert all(grid.zero_point == 0 for grid in net.scheme.activations.values())


def test_depthwise_layers_that_waste_half_a_grid_are_read_in_float(
    inverted: "Quantised", tmp_path: Path
) -> None:
    """Their taps are added one by one, on both sides, so that no bit is lost."""
    net = about_zero(inverted)
    artifact = written(net, tmp_path / "small.onnx")

    assert net.scheme.left_float == {"first", "depthwise"}
    assert 0.7 < int8_macs_fraction(artifact.path) < 1
    # What they read has no grid at all.
    assert net.scheme.activations.keys() < inverted.scheme.activations.keys()
    have = answering(artifact).run(inverted.images.numpy())
    np.testing.assert_array_equal(have, answers_of(net, inverted.images))


@pytest.mark.parametrize("name", ["inverted", "everything"])
def test_a_file_in_half_precision_holds_the_same_numbers(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Around INT8 all is float16, which the network's constants are, too."""
    made = request.getfixturevalue(name)
    net = halved(about_zero(made))

    artifact = written(net, tmp_path / "half.onnx", half=True)

    model = onnx.load(artifact.path)
    kinds = {each.data_type for each in model.graph.initializer}
    assert TensorProto.FLOAT not in kinds
    assert {TensorProto.FLOAT16, TensorProto.INT8} <= kinds
    assert breaches(model) == ()
    onnx.checker.check_model(model, full_check=True)
    have = answering(artifact).run(made.images.numpy())
    want = answers_of(net, made.images)
    assert decibels(want, have) > 45
    in_float = answers_of(made.net, made.images)
    assert decibels(in_float, have) > 20
    record = grids_of(about_zero(made), half=True)
    assert record is not None
    again = on_grids_of(QuantizedNet(made.graph, made.scheme), record)
    np.testing.assert_array_equal(answers_of(again, made.images), want)
