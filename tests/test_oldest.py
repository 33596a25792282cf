"""What pyproject.toml allows works: the oldest libraries of a device, seen at work."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from export.to_onnx import to_onnx
from export.to_tflite import to_tflite
from runtime.preprocess import Preprocess

SCRIPT = Path(__file__).with_name("oldest.py")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A small network in both formats, as the exporters write it."""
    from compress.models.nets.lenet import LeNet5

    folder = tmp_path_factory.mktemp("files")
    net = LeNet5(classes=10).eval()
    torch.manual_seed(0)
    made = []
    for write, name in ((to_onnx, "net.onnx"), (to_tflite, "net.tflite")):
        write(
            net,
            size=32,
            path=folder / name,
            classes=tuple("0123456789"),
            preprocess=Preprocess(size=32, resize=32),
            recipe_sha256="0" * 64,
            name="lenet5",
        )
        made.append(str(folder / name))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("python", [sys.executable, "python3.10"])
def test_the_oldest_libraries_of_a_device_run_our_files(
    python: str, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.10, the oldest that we allow, has the oldest ONNX Runtime, too."""
    monkeypatch.setenv("PYENV_VERSION", "3.10")  # else pyenv hides what it has
    found = shutil.which(python)
    usable = (
        found
        and not subprocess.run(
            [found, "--version"], capture_output=True, check=False
        ).returncode
    )
    if not usable:
        pytest.skip(f"{python} is not here")
    done = subprocess.run(
        [
            *(sys.executable, str(SCRIPT), str(tmp_path / "venv"), "onnx", "tflite"),
            *("--python", python, "--", "-m", "runtime", *files, "--runs", "20"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if "CalledProcessError" in done.stderr and "'install'" in done.stderr:
        pytest.skip(f"pip cannot install here: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    asked = [each for each in done.stderr.splitlines() if "==" in each]
    assert {each.partition("==")[0] for each in asked} == {
        "numpy",
        "onnxruntime",
        "ai-edge-litert",
    }
    for library in asked[:1] + asked[2:]:  # what was asked for is what ran
        assert library.replace("==", " ") in done.stdout
