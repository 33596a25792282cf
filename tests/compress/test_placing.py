"""Placement of a TFLite file: real candidates, timed here, and none for elsewhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from compress.context.console import Console
from compress.context.context import RunContext
from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.simulate import QuantizedNet
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.pipeline.export_plan import PlannedFile, write
from compress.pipeline.mixed_precision import placed
from compress.quantization.ptq import Methods, quantized
from compress.recipe.recipe import Export
from export.placement import Effort
from export.tflite.reading import operators
from runtime.preprocess import Preprocess

SIZE = 16


@pytest.fixture(scope="module")
def model() -> Model:
    """Three convolutions and a gate, quantized on noise."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.gate = nn.Conv2d(8, 8, 1)
            self.last = nn.Conv2d(8, 8, 3, padding=1)
            self.head = nn.Linear(8, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = torch.relu(self.stem(images))
            gate = self.gate(maps.mean((2, 3), keepdim=True))
            maps = torch.relu(self.last(maps * nn.functional.hardsigmoid(gate)))
            return cast("torch.Tensor", self.head(maps.mean((2, 3))))

    torch.manual_seed(0)
    graph = captured(Gated().eval(), size=SIZE, name="gated")
    canonical_(graph)
    images = torch.randn(8, 3, SIZE, SIZE)
    net = quantized(graph, lambda: [images], methods=Methods(ranges="minmax"))
    return Model(
        spec=ModelSpec(name="gated"),
        net=net,
        preprocess=Preprocess(size=SIZE, resize=SIZE),
        classes=("a", "b"),
    )


def context(folder: Path) -> RunContext:
    """Where a run works."""
    return RunContext(folder=folder, seed=0, console=Console(verbosity="quiet"))


def test_a_tflite_file_is_placed_by_what_litert_takes(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each candidate is a file of its own; the chosen one is what is written."""
    monkeypatch.setattr(
        "compress.pipeline.mixed_precision.FEW",
        Effort(slice_seconds=0, final_seconds=0, beginnings=1, parts=0),
    )
    asked = PlannedFile(role="model", model=model, format="tflite", dtype="int8")

    export = Export(to=("tflite",), optimize="latency")
    found = placed(asked, export, context(tmp_path), "f00")

    record = cast("dict[str, Any]", found.record)
    candidates = record["candidates"]
    names = {each["name"] for each in candidates}
    assert names == {
        *("all in INT8", "float up to cut 1", "gates in float", "all in float")
    }
    assert all(each["latency_ms"] > 0 for each in candidates)
    assert record["measured"] is True
    assert record["left_float"] == sorted(found.left_float)


@pytest.mark.parametrize("left", [(), ("stem", "relu"), ("gate",)])
def test_what_is_left_in_float_is_float_in_the_file(
    left: Sequence[str], model: Model, tmp_path: Path
) -> None:
    """Oracle: the convolutions of the file that compute in INT8, counted."""
    asked = PlannedFile(role="model", model=model, format="tflite", dtype="int8")
    export = Export(to=("tflite",))
    assert isinstance(model.net, QuantizedNet)
    assert set(left) <= {each.name for each in model.net.graph.graph.nodes}

    file = write(
        asked, tmp_path, export=export, recipe="f00", left_float=frozenset(left)
    )

    convolutions = [each for each in operators(file.path) if each.name == "CONV_2D"]
    assert len(convolutions) == 3
    assert sum(not each.int8 for each in convolutions) == bool(left)


@pytest.mark.parametrize("device", ["android", "raspberry-pi"])
def test_for_a_device_that_was_named_nothing_is_timed_here(
    device: str, model: Model, tmp_path: Path
) -> None:
    asked = PlannedFile(role="model", model=model, format="tflite", dtype="int8")
    export = Export(to=("tflite",), target=(device,))

    found = placed(asked, export, context(tmp_path), "f00")

    assert found.left_float == frozenset()
    assert cast("dict[str, Any]", found.record)["measured"] is False


def test_unasked_nothing_is_placed(model: Model, tmp_path: Path) -> None:
    """Latency is the default where a target of the file's own format is named."""
    asked = PlannedFile(role="model", model=model, format="tflite", dtype="int8")
    for export in (
        Export(to=("tflite",)),
        Export(to=("tflite",), target=("x86-vnni",)),
        Export(to=("tflite",), target=("android",), optimize="none"),
    ):
        assert placed(asked, export, context(tmp_path), "f00").record is None
