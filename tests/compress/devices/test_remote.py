"""A device elsewhere answers as this machine does; here it is another process."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.devices.remote import as_ours, remote_machine, remote_profile
from compress.devices.table import device
from runtime.__main__ import parser
from runtime.artifact import Artifact
from runtime.errors import DeviceError, InputRejectedError, RecipeError
from runtime.files import sha256_of
from runtime.machine import this_machine
from runtime.plan import Plan

ROOT = Path(__file__).parents[3]
PYTHON = (sys.executable,)


def net(path: Path, outputs: int = 4) -> Path:
    """A linear ONNX file for [1, 3, 8, 8]."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs])],
        [numpy_helper.from_array(np.ones((192, outputs), np.float32), "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def start(words: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """A process of its own, as a device has."""
    return subprocess.run(words, capture_output=True, cwd=ROOT, check=False, timeout=60)


def test_what_is_measured_elsewhere_comes_back_as_a_profile(tmp_path: Path) -> None:
    file = net(tmp_path / "a.onnx")
    plan = Plan(runs=20, threads=1, seed=3)
    found = remote_profile(start, PYTHON, [str(file)], plan, device="there")
    (one,) = found.measurements
    assert one.artifact_sha256 == sha256_of(file)
    assert len(one.samples_ns) >= 20
    machine = remote_machine(start, PYTHON, device="there")
    assert machine.cpu == one.machine.cpu == this_machine().cpu


def test_a_plan_is_the_same_plan_once_its_words_were_read() -> None:
    """Of every field, so that nothing is asked for here and forgotten there."""
    plans = (
        Plan(runs=20, seconds=2.5, threads=2, seed=3, runtime="litert", compare=True),
        Plan(mode="certified", seconds=900.0, force=True, energy="rapl", roofline=True),
        Plan(sustained_min=2.5, cores=(0, 1), sweep=(2, 4)),
    )
    for plan in plans:
        options = parser().parse_args([*plan.words(), "--", "a.onnx", "b.onnx"])
        assert Plan.of(options) == plan


@pytest.mark.parametrize(
    ("name", "plan", "kind", "says"),
    [
        ("missing.onnx", Plan(), RecipeError, "there: .*no such file"),
        ("bad.onnx", Plan(), InputRejectedError, "there: .*bad.onnx"),
        ("a.onnx", Plan(runs=3), RecipeError, "there: runs: 3"),
        ("a.onnx", Plan(runtime="litert"), RecipeError, "does not execute"),
    ],
)
def test_what_fails_there_fails_here_alike(
    tmp_path: Path, name: str, plan: Plan, kind: type[Exception], says: str
) -> None:
    net(tmp_path / "a.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(kind, match=says):
        remote_profile(start, PYTHON, [str(tmp_path / name)], plan, device="there")


def test_an_invalid_measurement_comes_back_with_its_fault(tmp_path: Path) -> None:
    """The program there prints it, and ends with 7."""
    file = net(tmp_path / "a.onnx")
    found = remote_profile(start, PYTHON, [str(file)], Plan(runs=20), device="there")
    (one,) = found.measurements
    hot = replace(one, disturbance=replace(one.disturbance, throttled=True))
    text = replace(found, measurements=(hot,)).as_json().encode()

    def throttled(words: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(words, 7, text, b"")

    back = remote_profile(throttled, PYTHON, [str(file)], Plan(), device="there")
    assert back.exit_code == 7
    assert "throttled" in back.measurements[0].faults()[0]


@pytest.mark.parametrize(
    "words", [("import sys; sys.exit(4)",), ("raise SystemExit('gone')",)]
)
def test_a_program_that_is_not_ours_is_told_as_the_device_it_runs_on(
    words: tuple[str, ...],
) -> None:
    with pytest.raises(DeviceError, match="there: the program there ended with"):
        remote_machine(start, (sys.executable, "-c", *words), device="there")


def test_a_sweep_of_threads_comes_back_under_our_names(tmp_path: Path) -> None:
    """Every count measures the same files again."""
    there = net(tmp_path / "0.onnx")
    plan = Plan(runs=10, threads=1, sweep=(2,), force=True)
    found = remote_profile(start, PYTHON, [str(there)], plan, device="there")
    (tmp_path / "ours").mkdir()
    ours = Artifact.read(net(tmp_path / "ours/model.onnx"))
    named = as_ours(found, [ours], device="there")
    assert [each.file for each in named.measurements] == ["model.onnx"] * 2
    assert [each.threads for each in named.measurements] == [1, 2]
    other = Artifact.read(net(tmp_path / "ours/other.onnx", outputs=5))
    with pytest.raises(DeviceError, match="about other files than were sent"):
        as_ours(found, [other], device="there")


@pytest.mark.parametrize("name", ["pi5", "cpu2", "", "cpu:2"])
def test_a_device_that_nobody_knows_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="not known; "):
        device(name)
