"""The folder that is copied to a device: the script measures, the units are units."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.files import sha256_of
from runtime.reading import read_profile

ROOT = Path(__file__).parents[1]
DEVICE = ROOT / "docker" / "device"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What one copies, in a place with a blank in its name."""
    found = tmp_path / "my models" / "edgepress"
    (found / "models").mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "runtime", found / "runtime", ignore=ignore)
    shutil.copy(DEVICE / "profile.sh", found)
    return found


def net(path: Path) -> Path:
    """A linear ONNX file for [1, 3, 8, 8]."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.ones((192, 4), np.float32), "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def run(
    folder: Path, *words: str, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    """Start the script from elsewhere, as a timer does."""
    env = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.run(
        ["sh", str(folder / "profile.sh"), *words],
        capture_output=True,
        text=True,
        cwd="/",
        env=env | {"PYTHON": python, "OMP_NUM_THREADS": "1"},
        check=False,
        timeout=120,
    )


@pytest.mark.slow
def test_a_copied_folder_measures_its_models_and_names_the_one_that_is_bad(
    folder: Path,
) -> None:
    """By the digest it is the good one; nothing is written but below `results`."""
    file = net(folder / "models" / "a b.onnx")
    (folder / "models" / "bad.onnx").write_bytes(b"no model")
    before = {path for path in folder.rglob("*") if "__pycache__" not in path.parts}
    done = run(folder, "--runs", "20")
    assert done.returncode == 3, done.stderr
    assert "profile.sh: bad.onnx: not measured, exit code 3" in done.stderr
    (line,) = done.stdout.splitlines()
    found = read_profile((folder / line).read_text(), source=line)
    assert found.measurements[0].artifact_sha256 == sha256_of(file)
    after = {path for path in folder.rglob("*") if "__pycache__" not in path.parts}
    new = {path.relative_to(folder).parts[0] for path in after - before}
    assert new == {"results"}
    assert not [*(folder / "results").glob(".draft*")]


def test_what_is_missing_is_a_sentence_and_an_exit_code(folder: Path) -> None:
    empty = run(folder)
    assert (empty.returncode, empty.stdout) == (2, "")
    assert "no .onnx, .tflite or .pte file" in empty.stderr
    gone = run(folder, python="/none/python3")
    assert gone.returncode == 6
    assert "/none/python3 is not there" in gone.stderr
    shutil.rmtree(folder / "runtime")
    assert run(folder).returncode == 2


@pytest.mark.parametrize(
    ("check", "run", "healthy"),
    [(0, None, True), (4, None, False), (3, 0, True), (3, 7, True), (3, 3, False)],
    ids=["passes", "fails", "without a test", "on a busy board", "broken"],
)
def test_a_container_is_healthy_if_every_file_computes_what_it_should(
    tmp_path: Path, check: int, run: int | None, *, healthy: bool
) -> None:
    """A stand-in for Python: how the self-test ends, and how a measurement does."""
    (tmp_path / "a b.tflite").touch()
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\n[ "$4" = --check ] && exit {check}\nexit {run}\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["sh", str(DEVICE / "healthy.sh"), str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}:{os.defpath}"},
        check=False,
        timeout=60,
    )
    assert done.returncode == (0 if healthy else 1), done.stderr


def test_a_measurement_that_is_invalid_is_kept_and_told(folder: Path) -> None:
    """A stand-in for Python: the self-test passes, the measurement ends with 7."""
    (folder / "models" / "a.tflite").touch()
    python = folder / "python"
    python.write_text(
        '#!/bin/sh\n[ "$1" = -c ] && exit 0\n[ "$3" = --check ] && exit 0\n'
        'echo "{}"\nexit 7\n'
    )
    python.chmod(0o755)
    done = run(folder, python=str(python))
    assert done.returncode == 7
    assert "a.tflite: measured, but it is not valid" in done.stderr
    assert (folder / done.stdout.strip()).read_text() == "{}\n"


def test_two_runs_at_once_are_one(folder: Path) -> None:
    if shutil.which("flock") is None:
        pytest.skip("flock (util-linux) is not here")
    (folder / "results").mkdir()
    lock = str(folder / "results" / ".lock")
    with subprocess.Popen(["flock", lock, "cat"], stdin=subprocess.PIPE) as holder:
        while (
            subprocess.run(["flock", "-n", lock, "true"], check=False).returncode == 0
        ):
            pass
        done = run(folder)
        assert holder.stdin
        holder.stdin.close()
    assert done.returncode == 7
    assert "another run is going on" in done.stderr


@pytest.mark.parametrize("script", ["profile.sh"])
def test_scripts_for_devices_are_posix_and_shellcheck_finds_nothing(
    script: str,
) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not here: tests/install-system-packages installs it")
    words = ["shellcheck", "--shell", "sh", str(DEVICE / script)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert os.access(DEVICE / script, os.X_OK)


def test_systemd_takes_the_units_and_gives_them_no_network(tmp_path: Path) -> None:
    """Under the name of a user; the program that they start is then there."""
    service = (DEVICE / "edgepress-profile@.service").read_text()
    assert "PrivateNetwork=yes" in service
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not here")
    for unit in DEVICE.glob("edgepress-profile@.*"):
        text = unit.read_text().replace("/home/%i/edgepress/profile.sh", "/bin/true")
        (tmp_path / unit.name.replace("@", "@me")).write_text(text)
    words = ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
