"""The stand-in of a file for ARM computes on this machine what the simulation does."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from compress.int8.simulate import with_qdq
from export.relaid import relaid
from export.to_onnx import to_onnx
from runtime.machine import this_machine
from runtime.preprocess import Preprocess
from runtime.session import open_session
from runtime.target import TARGETS, int8_target

if TYPE_CHECKING:
    from conftest import Quantised

SIZE = 32
CLASSES = tuple(f"class {number}" for number in range(10))


@pytest.mark.parametrize(
    "layout", sorted({"x86-avx2", int8_target(this_machine()).name})
)
def test_a_file_for_arm_laid_out_again_answers_as_the_simulation(
    everything: "Quantised", layout: str, tmp_path: Path
) -> None:
    """And to the bit as the file that was written for x86 from the network.

    The oracle reads the network; the stand-in reads the ARM file's own weights. What is
    laid out for AVX2 is exact with VNNI, too, so it is tried everywhere.
    """
    if this_machine().arch != "x86_64":
        pytest.skip("an ARM machine runs the file itself")
    files = {}
    for name in ("generic-arm64", layout):
        path = tmp_path / f"{name}.onnx"
        files[name] = to_onnx(
            with_qdq(everything.graph, everything.scheme),
            size=SIZE,
            path=path,
            batch="static",
            classes=CLASSES,
            preprocess=Preprocess(size=SIZE, resize=SIZE),
            recipe_sha256="f00",
            name="everything",
            dtype="int8",
            target=TARGETS[name],
        )
    here = TARGETS[layout]
    folder = tmp_path / "again"
    folder.mkdir()

    assert here.layout is not None
    equal = relaid(files["generic-arm64"], here.layout, folder)

    images = everything.images.numpy()
    have = open_session(equal).run(images)
    assert (have == open_session(files[here.name]).run(images)).all()
    np.testing.assert_allclose(have, everything.answers(), rtol=0, atol=1e-5)
    assert equal.path.name == "generic-arm64.onnx"
    for name in ("x86-vnni", "x86-avx2"):  # whichever of the two this machine is
        layout = TARGETS[name].layout
        assert layout is not None
        again = relaid(files["generic-arm64"], layout, folder)
        nodes = [node.name for node in onnx.load(again.path).graph.node]
        assert len(set(nodes)) == len(nodes)
