"""A whole architecture with real weights: LiteRT answers as the simulation does."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from compress.context.console import Console
from compress.data.batches import evaluation_batches
from compress.data.dataset import find
from compress.data.spec import DataSpec
from compress.int8.simulate import with_qdq
from compress.models.build import build
from compress.models.spec import ModelSpec
from runtime.session import open_session

if TYPE_CHECKING:
    from conftest import Workshop

pytest.importorskip("litert_torch")
QUIET = Console(verbosity="quiet")


@pytest.mark.slow
def test_mobilenet_v2_answers_alike_on_real_images(
    workshop: "Workshop", shared_data: Path, tmp_path: Path
) -> None:
    """Real weights, 100 photographs: the same class for every one."""
    weights = shared_data / "weights" / "derived_mobilenet_v2_torchvision_keys.pt"
    spec = ModelSpec(name="mobilenet_v2", weights=str(weights))
    model = build(spec, classes=None, native_size=None, seed=0, console=QUIET)
    source = DataSpec(source=str(shared_data / "images" / "imagenet_val_a.zip"))
    found = find(source, seed=0, console=QUIET, cache=tmp_path / "cache")
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
