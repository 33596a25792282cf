"""Files resized instead of exported, and tables scaled to what a device says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from compress.aim import Aim
from compress.job import Job
from compress.pruning.budget import allowed_units
from compress.pruning.deadline import Deadline
from compress.pruning.graph import groups_of
from compress.pruning.latency import probe_widths
from compress.pruning.latency_table import LatencyTable
from compress.pruning.layout import Layout
from compress.pruning.racing import scaled
from compress.pruning.resizing import NotResizableError, resized
from compress.pruning.timed_files import TimedFiles, narrowed
from compress.recipe import Recipe
from compress.run import aim_of
from export.to_onnx import qdq_model
from tests.compress.pruning.test_latency import Clockwork, file_of

SIZE = 16


class Net(nn.Module):
    """What mobile networks are made of: depthwise layers, a sum, a gate, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(16, 64, 1)
        self.deep = nn.Conv2d(64, 64, 3, padding=1, groups=64)
        self.gate = nn.Conv2d(64, 64, 1)
        self.thin = nn.Conv2d(64, 16, 1)
        self.head = nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 4] of images [n, 3, h, w]."""
        stem = self.stem(images).relu()
        maps = nn.functional.hardswish(self.deep(self.wide(stem).relu()))
        gate = self.gate(maps.mean((2, 3), keepdim=True))
        maps = self.thin(maps * nn.functional.hardsigmoid(gate)) + stem
        return self.head(maps.mean((2, 3)))


@pytest.fixture(name="net", scope="module")
def net_fixture() -> nn.Module:
    """Random weights."""
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(name="layout", scope="module")
def layout_fixture(net: nn.Module) -> Layout:
    """Its layers."""
    return Layout(net, groups_of(net, size=SIZE, name="net"), size=SIZE)


def outline(model: onnx.ModelProto) -> list[tuple[str, list[list[int]]]]:
    """Every operator and the shapes of the weights it reads, straight or through DQ."""
    stored = {each.name: list(each.dims) for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]]
    return [
        (node.op_type, [stored[name] for name in node.input if stored.get(name)])
        for node in model.graph.node
        if node.op_type not in {"DequantizeLinear", "QuantizeLinear", "Reshape"}
    ]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_resized_file_is_the_one_that_exporting_gives(
    net: nn.Module, layout: Layout, dtype: Literal["float32", "int8"]
) -> None:
    """Oracle: the network really cut and exported, operator by operator."""
    import onnxruntime  # in a slow test only

    files = TimedFiles(size=SIZE, name="net", aim=Aim(dtype=dtype))
    make = files.maker(net, layout)
    kept = [units - 8 if units > 8 else units for units in layout.full]

    found = make(kept)

    assert outline(found) == outline(files.whole(narrowed(net, layout, kept)))
    assert outline(make(layout.full)) == outline(files.whole(net))
    session = onnxruntime.InferenceSession(
        found.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    image = np.zeros((1, 3, SIZE, SIZE), np.float32)
    assert session.run(None, {"image": image})[0].shape == (1, 4)


def test_what_hangs_on_widths_otherwise_is_not_resized() -> None:
    """A factor for each channel that is no layer's."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 16, 1)
            self.factor = nn.Parameter(torch.rand(16, 1, 1))
            self.head = nn.Conv2d(16, 4, 1)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.first(images) * self.factor).mean((2, 3))

    net = Scaled().eval()
    layout = Layout(net, [], size=SIZE)

    with pytest.raises(NotResizableError):
        resized(qdq_model(net, size=SIZE, name="scaled", batch="static"), layout.whole)


def table_of(layout: Layout) -> LatencyTable:
    """Two kinds of kernels, each as slow as it has weights."""
    kinds = {each.name: "k1" if each.groups == 1 else "k2" for each in layout.whole}
    return LatencyTable(
        place={"machine": "here"},
        block=8,
        kinds=kinds,
        kernels={"k1": (0.001,) * 8, "k2": (0.002,) * 8},
        layers=dict.fromkeys(kinds, (1.0, 0.001, 0.002, 0.5)),
        overhead=1.1,
    )


@pytest.mark.parametrize(("dense", "deep"), [(3.0, 3.0), (2.0, 4.0)])
def test_kernels_are_scaled_to_what_a_device_says(
    layout: Layout, dense: float, deep: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device whose two kinds of kernels are slower by known factors is foretold."""
    monkeypatch.setattr(
        "compress.pruning.latency_table.terms",
        lambda layer, _, *, block: (layer.macs, *(block * 0.0,) * 7),
    )
    table = table_of(layout)
    factors = {"k1": dense, "k2": deep}

    def there(layers: Sequence[object]) -> float:
        return sum(
            table.layer_ms(each) * factors[table.kinds[each.name]]  # type: ignore[attr-defined,arg-type]
            for each in layers
        )

    widths = probe_widths(layout, np.random.default_rng(0))
    nets = [layout.layers(kept) for kept in widths]
    found = scaled(table, nets[::2], [there(net) for net in nets[::2]])

    for net in nets:
        assert found.ms(net) == pytest.approx(there(net), rel=0.05)


def test_widths_are_chosen_by_what_is_raced_elsewhere(
    net: nn.Module, layout: Layout, tmp_path: Path
) -> None:
    """Layers are timed here, the promise is made of the device's milliseconds."""
    raced: list[int] = []

    def race(nets: Sequence[nn.Module]) -> list[float]:
        raced.append(len(nets))
        numbers = [sum(p.numel() for p in each.parameters()) for each in nets]
        return [7 * each / 1e5 for each in numbers]

    deadline = Deadline(
        whole=net,
        file=file_of,
        stopwatch=Clockwork(),
        race=race,
        latency=0.6,
        latency_ms=None,
        job=Job(folder=tmp_path, cache=tmp_path, aim=Aim(device="pi5")),
    )
    found = deadline.choose(
        net,
        layout,
        [torch.ones(group.units) for group in layout.groups],
        allowed=[allowed_units(group, round_to=8) for group in layout.groups],
        share=1.0,
    )

    whole = sum(p.numel() for p in net.parameters())
    assert found.whole_ms == pytest.approx(7 * whole / 1e5)
    assert found.measured_ms <= found.wanted_ms == pytest.approx(0.6 * found.whole_ms)
    assert raced[:2] == [5, 1]


@pytest.mark.parametrize(
    ("stages", "aims"),
    [
        (["prune"], ["float32"]),
        (["prune", "ptq"], ["int8", "float32"]),
        (
            ["factorize", "prune", "finetune", "qat"],
            ["int8", "int8", "int8", "float32"],
        ),
    ],
)
def test_a_cut_is_timed_in_the_numbers_that_are_shipped(
    stages: list[str], aims: list[str]
) -> None:
    """INT8 where a later stage quantises."""
    options = {"prune": {"macs": 0.5}, "factorize": {"energy": 0.9}}
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "model": "lenet5",
            "stages": [{name: options.get(name, {})} for name in stages],
        }
    )

    found = [aim_of(recipe, done) for done in range(1, len(stages) + 1)]

    assert [each.dtype for each in found] == aims
    assert {(each.device, each.threads) for each in found} == {(None, 1)}
    export = recipe.export.model_copy(update={"device": "pi5", "target": ("rpi5",)})
    there = aim_of(recipe.model_copy(update={"export": export}), 1)
    assert (there.device, there.threads, there.runtime) == ("pi5", 4, "litert")
