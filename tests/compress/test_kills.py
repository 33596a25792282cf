"""A run that is killed, or that the disk stops, ends as if it had not been."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from compress.cli.main import main
from runtime.errors import Exit

ROOT = Path(__file__).parents[2]
# Imports once, then runs the command in a fork for every place: there the draft of the
# file of that name is cut to half of what was written, and the process killed.
SERVER = """
import json, os, signal, sys
from pathlib import Path
import compress.pipeline.run, compress.pipeline.deliver, compress.recipe.finetune, export.to_onnx, onnx
import onnxruntime, torch.onnx
from compress.cli.main import main

words, places = json.loads(sys.argv[1]), json.loads(sys.argv[2])
replace = Path.replace

def forked(place):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    def killed(draft, target):
        if target.name == place:
            os.truncate(draft, draft.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(draft, target)
    Path.replace = killed
    os._exit(main(words))

print(json.dumps([forked(place) for place in [*places, None]]))
"""
# Files in the order in which a run makes them; a dozen moments to be killed at.
MOMENTS = (
    "recipe.yaml",
    "pixels.u8",
    "pixels.json",
    "seconds.json",
    "model.safetensors",
    "model.json",
    "model-lenet5.onnx",
    "model-lenet5.onnx.json",
    "report.md",
    "report.html",
    "manifest.json",
    "report.json",
)


def tuning(data: Path, out: Path) -> list[str]:
    """The words that train a small network."""
    words = ["finetune", "--model", "lenet5", "--epochs", "2", "--batch-size", "8"]
    return [*words, "--data", str(data), "--out", str(out), "-q"]


def made(run: Path) -> Mapping[str, str]:
    """SHA-256 of what a run makes and does not measure, by name."""
    names = (
        "recipe.yaml",
        "01-finetune/model.safetensors",
        "01-finetune/model.json",
        "artifacts/model-lenet5.onnx",
        "artifacts/model-lenet5.onnx.json",
    )
    return {
        name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names
    }


def vouched(run: Path) -> set[str]:
    """The files of a run, each of which is as its manifest says."""
    listed = json.loads((run / "manifest.json").read_text())["files"]
    for each in listed:
        content = (run / each["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == each["sha256"], each["path"]
    return {each["path"] for each in listed}


@pytest.fixture(scope="module")
def data(
    tmp_path_factory: pytest.TempPathFactory, draw_folder: Callable[..., Path]
) -> Path:
    """A few images."""
    return draw_folder(tmp_path_factory.mktemp("images") / "data", images=6)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A run that nothing happened to."""
    place = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRESS_CACHE", str(place / "cache"))
        assert main(tuning(data, place / "run")) == Exit.FIT
    return place / "run"


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_a_run_killed_at_a_dozen_moments_gives_the_same_bytes(
    undisturbed: Path, data: Path, tmp_path: Path
) -> None:
    """Killed in the middle of one file after the other, and begun again each time."""
    words, run = tuning(data, tmp_path / "run"), tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", SERVER, json.dumps(words), json.dumps(MOMENTS)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    codes = json.loads(done.stdout.splitlines()[-1])
    assert codes == [*[-9] * len(MOMENTS), Exit.FIT], done.stderr
    assert made(run) == made(undisturbed)
    assert vouched(run) == vouched(undisturbed)
    assert not list(tmp_path.rglob("*.part"))
    assert not list(run.rglob(".tmp*"))


# Bytes that a file may have: the journal's first line is longer, or the weights are.
@pytest.mark.parametrize("most", [40, 90_000])
@pytest.mark.usefixtures("own_cache")
def test_a_disk_that_takes_no_more_is_told_and_the_run_goes_on(
    undisturbed: Path,
    data: Path,
    tmp_path: Path,
    most: int,
    started: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    """The kernel refuses, wherever the write comes from; that needs no root."""
    words, run = tuning(data, tmp_path / "run"), tmp_path / "run"
    limit = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({most},) * 2)"
    done = started(*words, before=limit)

    assert done.returncode == Exit.USAGE, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert "cannot be written: " in done.stderr
    assert not list(tmp_path.rglob("*.part"))
    for journal in tmp_path.rglob("events.jsonl"):
        assert all(json.loads(line) for line in journal.read_text().splitlines())
    assert main(words) == Exit.FIT
    assert made(run) == made(undisturbed)
    assert vouched(run) == vouched(undisturbed)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
@pytest.mark.parametrize(
    ("words", "full", "code"),
    [
        (["doctor"], "stdout", Exit.USAGE),
        (["show", "nowhere"], "stderr", Exit.USAGE),
        (["cache", "ls"], "stderr", Exit.FIT),
    ],
)
def test_a_stream_that_ends_in_a_full_disk_has_an_exit_code(
    words: list[str], full: str, code: Exit
) -> None:
    """An answer that nobody can read was not given; a word of comment may be lost."""
    with Path("/dev/full").open("w") as device:
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, full: device}
        done = subprocess.run(
            [sys.executable, "-m", "compress", *words],
            cwd=ROOT,
            text=True,
            check=False,
            **streams,
        )
    assert done.returncode == code
    if full == "stdout":
        assert done.stderr.startswith("compress: ")
        assert "No space left on device" in done.stderr
        assert done.stderr.count("\n") == 1
