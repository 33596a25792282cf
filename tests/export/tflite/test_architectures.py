"""Whole architectures: LiteRT computes the integers of the simulation, to the bit."""

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from compress.data.batches import evaluation_batches
from compress.data.catalogue import find
from compress.data.spec import DataSpec
from compress.int8.simulate import with_qdq
from compress.models.build import build
from compress.models.spec import ModelSpec
from compress.screen import Screen
from export.tflite.reading import int8_macs_fraction, operators
from runtime.session import open_session

if TYPE_CHECKING:
    from conftest import Workshop

pytest.importorskip("litert_torch")
CLASSES = tuple(f"class {number}" for number in range(10))
# Only float sums of the classifier are added in another order.
SAME_INTEGERS_DB = 100.0
QUIET = Screen(verbosity="quiet")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv3_small_100",
        "resnet18",
        "torchvision/squeezenet1_1",
        "torchvision/shufflenet_v2_x0_5",
        "torchvision/googlenet",
    ],
)
def test_litert_computes_the_integers_of_the_simulation(
    workshop: "Workshop", tmp_path: Path, name: str
) -> None:
    """Gates, residual sums, padded pools, concats and shuffles; classifier float."""
    size = 64
    spec = ModelSpec(name=name)
    model = build(spec, classes=CLASSES, native_size=size, seed=0, screen=QUIET)
    made = workshop.quantised(model.net, workshop.pixels(16, size))
    graph = with_qdq(made.graph, made.scheme)

    file = workshop.written(graph, tmp_path / "net.tflite", size=size)

    want = made.answers()
    have = open_session(file).run(made.channels_last)
    noise = np.square(want - have, dtype=np.float64).sum()
    decibel = 10 * np.log10(np.square(want, dtype=np.float64).sum() / max(noise, 1e-30))
    assert decibel > SAME_INTEGERS_DB
    floats = Counter(each.name for each in operators(file.path) if not each.int8)
    assert floats.keys() <= {"QUANTIZE", "DEQUANTIZE", "FULLY_CONNECTED", "MEAN"}
    assert floats.total() <= 4
    assert int8_macs_fraction(file.path) > 0.99


@pytest.mark.slow
def test_mobilenet_v2_answers_alike_on_real_images(
    workshop: "Workshop", shared_data: Path, tmp_path: Path
) -> None:
    """Real weights, 100 photographs: the same class for every one."""
    weights = shared_data / "weights" / "derived_mobilenet_v2_torchvision_keys.pt"
    spec = ModelSpec(name="mobilenet_v2", weights=str(weights))
    model = build(spec, classes=None, native_size=None, seed=0, screen=QUIET)
    source = DataSpec(source=str(shared_data / "images" / "imagenet_val_a.zip"))
    found = find(source, seed=0, screen=QUIET, cache=tmp_path / "cache")
    photographs = found.images(model.preprocess)
    # As pixels come: 256 levels a channel, of which none lies near a rounding tie.
    batches = list(islice(evaluation_batches(photographs, 33), 4))
    images = torch.cat([model.prepare(batch.pixels) for batch in batches])
    made = workshop.chosen(model.net, images[100:])
    classes = tuple(map(str, range(1000)))

    file = workshop.written(
        with_qdq(made.graph, made.scheme),
        tmp_path / "net.tflite",
        size=224,
        classes=classes,
    )

    with torch.inference_mode():
        want = made.on(images[:100])
    last = np.ascontiguousarray(images[:100].numpy().transpose(0, 2, 3, 1))
    have = open_session(file).run(last)
    assert (want.argmax(axis=1) == have.argmax(axis=1)).all()
    assert np.square(want - have).sum() < 1e-10 * np.square(want).sum()
    weights_bytes = sum(each.numel() for each in model.net.parameters())
    assert file.size_bytes < 1.08 * weights_bytes
