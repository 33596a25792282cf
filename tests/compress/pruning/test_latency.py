"""Latency tables and what is chosen by them, with made-up clocks: nothing is timed."""

import math
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from compress.job import Job
from compress.pruning.budget import allowed_units
from compress.pruning.deadline import Deadline
from compress.pruning.graph import groups_of
from compress.pruning.latency import latency_table, probe_widths
from compress.pruning.latency_table import LatencyTable, Probe, tabulated
from compress.pruning.layout import Kept, Layer, Layout
from compress.pruning.stopwatch import by_layer
from compress.pruning.tradeoff import traded
from compress.reachable import check_measurable
from runtime.errors import MissingDependencyError, RecipeError
from runtime.operator_times import OperatorTime
from runtime.target import TARGETS

ON_X86 = pytest.mark.skipif(
    platform.machine() not in {"x86_64", "AMD64"}, reason="an ARM machine may be a Pi"
)
SIZE = 16
EVERYWHERE = {"machine": "made up"}


class Net(nn.Module):
    """Convolutions in a row, one of them depthwise, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 64, 3, padding=1)
        self.second = nn.Conv2d(64, 128, 3, stride=2, padding=1)
        self.third = nn.Conv2d(128, 128, 3, padding=1, groups=128)
        self.fourth = nn.Conv2d(128, 256, 1)
        self.fifth = nn.Conv2d(256, 192, 1)
        self.classifier = nn.Linear(192, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 10] of images [n, 3, h, w]."""
        maps = self.second(self.first(images).relu()).relu()
        maps = self.fourth(self.third(maps).relu()).relu()
        return self.classifier(self.fifth(maps).relu().mean((2, 3)))


@pytest.fixture(name="net", scope="module")
def _net() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(name="layout", scope="module")
def _layout(net: nn.Module) -> Layout:
    return Layout(net, groups_of(net, size=SIZE, name="net"), size=SIZE)


def kernel_us(layer: Layer, *, block: int) -> float:
    """A kernel that computes up to four blocks of outputs in one pass over its inputs.

    A pass takes 6 cycles a term with four blocks, and 4.5, 4 and 4 with fewer, as
    registers and the latency of AVX2's fused multiply-add have it.
    """
    cycles = {4: 6.0, 3: 4.5, 2: 4.0, 1: 4.0}
    padded = math.ceil(layer.inputs / layer.groups / block) * block
    if layer.groups > 1 or layer.inputs < block:
        padded = layer.inputs // layer.groups
    left, passes = math.ceil(layer.outputs / block), 0.0
    while left:
        now = 1 if layer.groups > 1 else min(4, left)
        passes += cycles[now]
        left -= now
    window = layer.kernel[0] * layer.kernel[1]
    places = layer.height * layer.width
    return 2.0 + passes * padded * window * places * block / 8 / 3000


def probe(layers: Sequence[Layer], *, block: int) -> Probe:
    """The network timed on that kernel; its whole takes a little longer than layers."""
    us = {layer.name: kernel_us(layer, block=block) for layer in layers}
    return Probe(
        layers=tuple(layers), layers_us=us, whole_ms=1.05 * sum(us.values()) / 1e3
    )


class Clockwork:
    """A Stopwatch that computes times, from the numbers of weights."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.probed = factor, 0

    @property
    def place(self) -> Mapping[str, str | int]:
        """Nowhere."""
        return EVERYWHERE

    def probe(self, model: onnx.ModelProto, layers: Sequence[Layer]) -> Probe:
        """Times of layers that go with the weights of the file."""
        self.probed += 1
        us = {layer.name: layer.weights / 100 for layer in layers}
        assert sum(us.values()) == pytest.approx(weights(model) / 100)
        return Probe(layers=tuple(layers), layers_us=us, whole_ms=weights(model) / 1e5)

    def race(self, models: Sequence[onnx.ModelProto]) -> list[float]:
        """The whole as the table has it, what was cut out of it `factor` times that."""
        first, *others = (weights(model) / 1e5 for model in models)
        return [first, *(self.factor * each for each in others)]


def weights(model: onnx.ModelProto) -> int:
    """Numbers in a file's weights and biases."""
    return sum(
        math.prod(each.dims)
        for each in model.graph.initializer
        if each.data_type == onnx.TensorProto.FLOAT
    )


@pytest.mark.parametrize("block", [8, 16])
def test_a_table_knows_widths_that_were_never_timed(layout: Layout, block: int) -> None:
    """Nine timings give the staircase of the kernel, and the size of its blocks."""
    rng = np.random.default_rng(0)
    timed = [layout.layers(kept) for kept in probe_widths(layout, rng)]
    table = tabulated([probe(each, block=block) for each in timed], place=EVERYWHERE)

    assert table.block == block
    for kept in probe_widths(layout, np.random.default_rng(1)):
        layers = layout.layers(kept)
        expected = probe(layers, block=block).whole_ms
        assert table.ms(layers) == pytest.approx(expected, rel=0.05)


def test_probes_tell_how_far_to_trust_a_table(layout: Layout) -> None:
    """Each network's own timing is compared with a table that never saw it."""
    rng = np.random.default_rng(0)
    timed = [layout.layers(kept) for kept in probe_widths(layout, rng)]
    probes = [probe(each, block=8) for each in timed]
    table = tabulated(probes, place=EVERYWHERE)
    without = tabulated(probes[1:], place=EVERYWHERE)

    assert table.probes[0] == (probes[0].whole_ms, without.ms(probes[0].layers))


def test_time_is_saved_at_full_steps_of_the_staircase(layout: Layout) -> None:
    """No width lies where a wider one would cost the same, and the budget is kept."""

    def cost(layer: Layer) -> float:
        return kernel_us(layer, block=8)

    allowed = [allowed_units(group, round_to=1) for group in layout.groups]
    scores = [torch.ones(group.units) for group in layout.groups]
    whole = sum(map(cost, layout.whole))
    kept = traded(layout, scores, cost, most=whole / 2, allowed=allowed, unit=" us")

    assert 0.45 * whole < sum(map(cost, layout.layers(kept))) <= whole / 2
    assert all(units % 8 == 0 for units in kept)
    assert all(units >= full / 4 for units, full in zip(kept, layout.full, strict=True))


def test_what_is_worth_more_keeps_more(layout: Layout) -> None:
    """A group whose worth lies in a few units gives up the others before its like."""
    allowed = [allowed_units(group, round_to=8) for group in layout.groups]
    even = [torch.ones(group.units) for group in layout.groups]
    peaked = [each.clone() for each in even]
    fourth = next(i for i, group in enumerate(layout.groups) if group.name == "fourth")
    peaked[fourth][64:] = 1e-3

    def kept(scores: Sequence[Tensor]) -> list[int]:
        return traded(
            layout,
            scores,
            lambda layer: float(layer.macs),
            most=0.6 * layout.macs(layout.full),
            allowed=allowed,
            unit="",
        )

    assert kept(peaked)[fourth] == 64
    assert kept(even)[fourth] > 64


def test_a_latency_out_of_reach_is_refused_with_the_closest(layout: Layout) -> None:
    """A quarter of every layer is the end."""
    allowed = [allowed_units(group, round_to=8) for group in layout.groups]
    scores = [torch.ones(group.units) for group in layout.groups]
    quarter = [math.ceil(group.units / 4) for group in layout.groups]
    floor = sum(layer.macs for layer in layout.layers(quarter))

    with pytest.raises(RecipeError, match=re.escape(f"can be reached is {floor:,.3g}")):
        traded(
            layout,
            scores,
            lambda layer: float(layer.macs),
            most=1.0,
            allowed=allowed,
            unit="",
        )


def test_an_operator_belongs_to_the_layer_it_follows() -> None:
    """What was fused has one of its names, what was blocked a suffix."""
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["image", "w"], ["a"], "stem/Conv"),
        node("Relu", ["a"], ["b"], "act/Relu"),
        node("Conv", ["b", "v"], ["c"], "block.conv/Conv"),
        node("Add", ["c", "b"], ["d"], "block/Add"),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [], [])
    seen = [
        OperatorTime(name=name, samples_us=(us, us))
        for name, us in (
            ("ReorderInput", 1),
            ("act/Relu_nchwc", 10),
            ("block.conv/Conv_nchwc", 100),
            ("block/Add", 1000),
            ("ReorderOutput", 10000),
        )
    ]

    found = by_layer(onnx.helper.make_model(graph), seen, ["stem", "block.conv"])

    assert found == {"stem": 11, "block.conv": 11100}


def file_of(net: nn.Module) -> onnx.ModelProto:
    """What a Clockwork has to know of a network's file: its weights."""
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            [],
            "weights",
            [],
            [],
            [
                onnx.TensorProto(
                    name=name, dims=each.shape, data_type=onnx.TensorProto.FLOAT
                )
                for name, each in net.named_parameters()
            ],
        )
    )


def test_a_table_is_measured_once(net: nn.Module, tmp_path: Path) -> None:
    """The second time it comes from the cache, as it was; a damaged one does not."""
    whole = Layout(net, [], size=SIZE)

    def make(kept: Kept) -> onnx.ModelProto:
        del kept
        return file_of(net)

    stopwatch = Clockwork()
    table = latency_table(whole, make, stopwatch, cache=tmp_path)
    timed = stopwatch.probed

    assert latency_table(whole, make, stopwatch, cache=tmp_path) == table
    assert stopwatch.probed == timed
    (kept,) = tmp_path.rglob("*.json")
    digit = re.sub(
        r"(\d)(?=,?\n)", lambda found: str(9 - int(found[1])), kept.read_text(), count=1
    )
    for times, damaged in enumerate(("{}", digit), start=2):
        kept.write_text(damaged)
        assert latency_table(whole, make, stopwatch, cache=tmp_path) == table
        assert stopwatch.probed == times * timed


@pytest.mark.parametrize("factor", [1.0, 1.2])
def test_a_deadline_is_kept_even_if_the_table_is_too_hopeful(
    net: nn.Module, layout: Layout, tmp_path: Path, factor: float
) -> None:
    """What is promised is what was measured; the prediction is told beside it."""
    deadline = Deadline(
        whole=net,
        file=file_of,
        stopwatch=Clockwork(factor),
        latency=0.5,
        latency_ms=None,
        job=Job(folder=tmp_path, cache=tmp_path),
    )
    found = deadline.choose(
        net,
        layout,
        [torch.ones(group.units) for group in layout.groups],
        allowed=[allowed_units(group, round_to=8) for group in layout.groups],
        share=1.0,
    )

    assert found.wanted_ms == pytest.approx(0.5 * found.whole_ms)
    assert 0.9 * found.wanted_ms < found.measured_ms <= found.wanted_ms
    assert found.measured_ms == pytest.approx(factor * found.predicted_ms, rel=0.05)


@ON_X86
def test_a_target_that_nobody_can_measure_is_refused() -> None:
    """A Raspberry Pi is not here; TensorRT is nowhere but on its device."""
    with pytest.raises(MissingDependencyError, match=r"'rpi4' .* is no Cortex-A72"):
        check_measurable(TARGETS["rpi4"], None, stage="prune")
    check_measurable(TARGETS["rpi4"], "pi4", stage="prune")
    check_measurable(TARGETS["local"], None, stage="prune")
    with pytest.raises(MissingDependencyError, match="trtexec runs on the"):
        check_measurable(TARGETS["jetson-orin"], "orin", stage="prune")


def test_a_table_at_rest_is_the_same_table() -> None:
    """JSON there and back."""
    table = LatencyTable(
        place=EVERYWHERE,
        block=8,
        kinds={"conv": "3x3/1"},
        kernels={"3x3/1": (0.1, 0.2)},
        layers={"conv": (1.0, 0.1, 1 / 3, 0.0)},
        overhead=1.1,
        probes=((1.0, 1.1),),
    )

    assert LatencyTable.model_validate_json(table.model_dump_json()) == table
