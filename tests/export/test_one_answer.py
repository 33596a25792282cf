"""One answer on every CPU: files for ARM on emulated cores, against this machine.

An arm64 Debian is unpacked into a folder of the tests' own (apt and dpkg download and
extract, nothing is installed); where that cannot be done, these tests skip with why.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from test_arm_rules import CHANNELS, convolution

from compress.context.console import Console
from compress.context.vision import timm
from compress.devices.arm_answers import WHEELS, arm_answers
from compress.devices.emulated import qemu, root, site
from compress.int8.simulate import with_qdq
from compress.models.build import build
from compress.models.spec import ModelSpec
from export.onnx.lower import lowered
from export.to_onnx import qdq_model
from runtime.answers import answers_of
from runtime.errors import DeviceError, MissingDependencyError
from runtime.machine import this_machine
from runtime.target import TARGETS, int8_target

if TYPE_CHECKING:
    from conftest import Workshop

CPUS = ("cortex-a72", "cortex-a76")
SIZE = 64
IMAGES = 2


@pytest.fixture
def arm(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unpack what emulation needs, once for all processes that test."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    monkeypatch.setenv("EDGEPRESS_CACHE", str(folder / "emulated-arm"))
    try:
        qemu()
        root()
        site(WHEELS)
    except (DeviceError, MissingDependencyError) as error:
        pytest.skip(f"no ARM core can be emulated here: {error}")


def networks(shared: Path) -> dict[str, torch.nn.Module]:
    """Whole networks: one with real weights, others by seeds."""
    quiet = Console(verbosity="quiet")
    weights = shared / "weights/derived_mobilenet_v2_torchvision_keys.pt"
    spec = ModelSpec(name="mobilenet_v2", weights=str(weights))
    model = build(spec, classes=None, native_size=None, seed=0, console=quiet)
    found = {"mobilenet_v2": model.net}
    for seed in (0, 1):
        torch.manual_seed(seed)
        name = f"mobilenetv3_small_050-{seed}"
        found[name] = timm.create_model("mobilenetv3_small_050", num_classes=10)
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_int8_files_answer_alike_on_every_cpu(
    workshop: "Workshop", shared_data: Path, tmp_path: Path
) -> None:
    """Bit for bit: the file for this machine here, ARM's file on A72 and on A76.

    And LiteRT's file, whose logits are float, to 1e-5 of the largest: its last sums
    have another order there. A step of INT8 would be a hundred times that. This
    machine's file is proven against the simulation elsewhere.
    """
    here, there = {}, []
    images = workshop.pixels(16, SIZE)
    for name, net in networks(shared_data).items():
        chosen = workshop.chosen if name == "mobilenet_v2" else workshop.quantized
        made = chosen(net, images)
        both = with_qdq(made.graph, made.scheme)
        raw = qdq_model(both, size=SIZE, name=name, batch="static")
        here[name] = tmp_path / f"{name}.onnx"
        onnx.save(lowered(raw, int8_target(this_machine())), here[name])
        there.append(tmp_path / f"{name}-arm64.onnx")
        onnx.save(lowered(raw, TARGETS["generic-arm64"]), there[-1])
    lite = workshop.written(both, tmp_path / "lite.tflite", size=SIZE).path
    asked = images[:IMAGES].numpy()

    want = answers_of([*here.values(), lite], asked)

    for cpu in CPUS:
        have = arm_answers([*there, lite], asked, cpu=cpu)
        for name, path in here.items():
            scores = have.scores[f"{name}-arm64.onnx"]
            assert np.array_equal(scores, want.scores[path.name]), (name, cpu)
        error = np.abs(have.scores[lite.name] - want.scores[lite.name]).max()
        assert error <= 1e-5 * np.abs(want.scores[lite.name]).max(), cpu


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_a_weight_of_minus_128_overflows_in_older_versions_only(tmp_path: Path) -> None:
    """ONNX Runtime 1.29 on a Cortex-A72; not 1.30, not with -127, not on an A76.

    Every code of the image is -128: the oracle is the sum as Python counts it.
    """
    image = np.full((1, CHANNELS, 4, 4), -128, np.float32)
    files = {}
    for lowest in (-128, -127):
        files[lowest] = tmp_path / f"weights{lowest}.onnx"
        onnx.save(convolution(lowest), files[lowest])
    older = ("numpy>=1.26", "onnxruntime==1.29.0")
    try:
        site(older)
    except DeviceError as error:
        pytest.skip(f"no wheel of ONNX Runtime 1.29 for ARM: {error}")

    def right(lowest: int, *, cpu: str, wheels: tuple[str, ...]) -> bool:
        """Whether the sum comes out as it should, to half a step of 200."""
        path = files[lowest]
        found = arm_answers([path], image, cpu=cpu, wheels=wheels).scores[path.name]
        wanted = CHANNELS * -128 * lowest * 0.01
        return bool((np.abs(found - wanted) <= 100 + 1).all())

    assert not right(-128, cpu="cortex-a72", wheels=older)
    assert right(-127, cpu="cortex-a72", wheels=older)
    assert right(-128, cpu="cortex-a76", wheels=older)
    assert right(-128, cpu="cortex-a72", wheels=WHEELS)
