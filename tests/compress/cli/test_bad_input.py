"""What is wrong with the input is told in one sentence; nothing half-made is left."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from compress.cli.main import main
from compress.models.nets.lenet import LeNet5
from runtime.errors import Exit
from runtime.requirements import pip_line

pytestmark = pytest.mark.usefixtures("own_cache")

SHORT = ("--epochs", "1", "--train-images", "40")


class Malicious:
    """Unpickling it would run a command."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        """As pickle asks: a function and its arguments."""
        return os.system, (f"touch {self.proof}",)


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail; give its sentence, having looked for litter."""

    def run(code: Exit, *words: str) -> str:
        out = tmp_path / "out"
        assert main([*words, "-q", "--out", str(out)]) == code
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("compress: ")
        assert printed.err.count("\n") == 1, printed.err
        assert not out.exists()
        assert not list(tmp_path.rglob("*.part"))
        return printed.err

    return run


def finetune(*words: str) -> tuple[str, ...]:
    """The smallest training there is."""
    return ("finetune", "--model", "lenet5", *SHORT, *words)


def test_an_unknown_model(refused: Callable[..., str]) -> None:
    told = refused(Exit.USAGE, "finetune", "--model", "resnet5O", *SHORT)
    assert "unknown model 'resnet5O'" in told
    assert "resnet50" in told


def test_an_unknown_teacher(refused: Callable[..., str]) -> None:
    told = refused(
        Exit.USAGE, "distill", "--teacher", "no such", "--student", "lenet5", *SHORT
    )
    assert "unknown model 'no such'" in told


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "--model", "no/such.onnx"),
        ("profile", "no/such.onnx"),
        ("show", "no/such/run"),
        ("run", "no/such.yaml"),
        ("export", "--model", "no/such/run"),
    ],
)
def test_a_missing_file(words: tuple[str, ...], refused: Callable[..., str]) -> None:
    assert "no/such" in refused(Exit.USAGE, *words)


def test_a_data_folder_that_is_missing(refused: Callable[..., str]) -> None:
    told = refused(Exit.USAGE, *finetune("--data", "folder:/no/such"))
    assert "/no/such: no such file or folder" in told


def test_a_data_folder_that_is_empty(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    told = refused(Exit.REJECTED, *finetune("--data", f"folder:{tmp_path}/data"))
    assert "holds no images" in told


def test_a_data_folder_of_one_class(
    refused: Callable[..., str], tmp_path: Path, draw_folder: Callable[..., Path]
) -> None:
    draw_folder(tmp_path / "data", classes="a")
    told = refused(Exit.REJECTED, *finetune("--data", f"folder:{tmp_path}/data"))
    assert "only one class ('a')" in told


def test_images_that_are_all_corrupt(
    refused: Callable[..., str], tmp_path: Path, draw_folder: Callable[..., Path]
) -> None:
    for path in draw_folder(tmp_path / "data").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:20])
    told = refused(Exit.REJECTED, *finetune("--data", f"folder:{tmp_path}/data"))
    assert "corrupt" in told


def test_a_corrupt_image_is_skipped_counted_and_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    draw_folder: Callable[..., Path],
) -> None:
    """One bad file among forty is no reason to stop."""
    data = draw_folder(tmp_path / "data")
    for number in range(10):
        path = data / f"a/{number}.png"
        if number % 2:
            path.write_bytes(path.read_bytes()[:60])
    words = finetune("--data", f"folder:{data}", "--out", str(tmp_path / "out"))
    assert main(list(words)) == Exit.FIT
    told = capsys.readouterr().err
    assert "cannot be used and were skipped: a/" in told
    named = {f"a/{number}.png" for number in range(10) if f"a/{number}.png" in told}
    assert named == {f"a/{number}.png" for number in (1, 3, 5, 7, 9)}
    counts = json.loads((tmp_path / "out/report.json").read_text())["data"]
    assert counts["train"] + counts["val"] == 40 - len(named)


def test_a_checkpoint_of_another_architecture(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    """Missing and unexpected keys are named."""
    save_file({"features.0.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    told = refused(Exit.REJECTED, *finetune("--weights", f"{tmp_path}/w.safetensors"))
    assert "missing" in told
    assert "c1.weight" in told
    assert "unexpected" in told
    assert "features.0.weight" in told


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_a_truncated_checkpoint(
    ending: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / f"w.{ending}"
    state = LeNet5(classes=10).state_dict()
    if ending == "pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    told = refused(Exit.REJECTED, *finetune("--weights", str(path)))
    assert str(path) in told


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(
    writer: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    proof, path = tmp_path / "ran", tmp_path / "w.pt"
    if writer == "torch":
        torch.save({"weight": Malicious(proof)}, path)
    else:  # protocol 2 is torch.save's
        path.write_bytes(pickle.dumps(Malicious(proof), protocol=2))
    told = refused(Exit.REJECTED, *finetune("--weights", str(path)))
    assert str(path) in told
    assert not proof.exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: r\nmodle: lenet5", "modle: unknown key; did you mean 'model'?"),
        ("name: r\nmodel: lenet5\nseed: one", "seed: found 'one', which should be a"),
        (
            "name: r\nmodel: lenet5\nstages: [finetune: {epochs: 0}]",
            "stages.0.finetune.epochs: found 0, which should be greater than or equal",
        ),
        (
            "name: r\nmodel: lenet5\nbudget: {top1_min: .nan}",
            "budget.top1_min: found nan, which should be a finite number",
        ),
        ("name: [", "not readable as YAML"),
        ("just a sentence", "expected keys such as"),
    ],
)
def test_a_wrong_recipe(
    text: str, sentence: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    told = refused(Exit.USAGE, "run", str(path))
    assert f"{path}: {sentence}" in told


@pytest.mark.parametrize(
    "device",
    [
        "cuda:99",
        pytest.param(
            "mps",
            marks=pytest.mark.skipif(sys.platform == "darwin", reason="may have it"),
        ),
    ],
)
def test_no_such_device(device: str, refused: Callable[..., str]) -> None:
    told = refused(Exit.DEVICE, *finetune("--device", device))
    assert f"--device {device}: no such device here; this machine has cpu" in told


def test_what_is_no_device_at_all(refused: Callable[..., str]) -> None:
    told = refused(Exit.DEVICE, *finetune("--device", "toaster"))
    assert "--device toaster: not known; known: cpu" in told


def test_two_devices_that_measure(refused: Callable[..., str]) -> None:
    told = refused(Exit.USAGE, *finetune("--device", "cuda,pi4,pi5"))
    assert "at most one that computes and one that measures" in told


@pytest.mark.parametrize("out", ["/dev/null/run", "/dev/null", "/proc/run"])
def test_an_output_folder_that_cannot_be_written(
    out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even root cannot write there."""
    assert main([*finetune("--out", out), "-q"]) == Exit.USAGE
    told = capsys.readouterr().err
    assert told.startswith(f"compress: --out {out}: ")
    assert told.endswith("choose another --out\n")


def test_an_output_folder_of_another_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text("name: mine\nmodel: lenet5\n")
    (tmp_path / "report.json").write_text("{}")
    assert main([*finetune("--out", str(tmp_path)), "-q"]) == Exit.USAGE
    assert "already holds another run (mine)" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.yaml", "report.json"}


def test_the_corrected_command_may_use_the_same_folder(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    draw_folder: Callable[..., Path],
) -> None:
    """A slip of the pen must not occupy --out."""
    out = ["--out", str(tmp_path / "run"), "-q"]
    data = ["--data", str(draw_folder(tmp_path / "data"))]
    wrong = ["finetune", "--model", "lenet55", *SHORT]
    assert main([*wrong, *data, *out]) == Exit.USAGE
    assert main([*finetune(*data), *out]) == Exit.FIT
    capsys.readouterr()


@pytest.mark.parametrize(
    "target", ["pixels.u8", "model.safetensors", "model-lenet5.onnx", "report.json"]
)
def test_a_full_disk_is_told_leaves_no_half_and_the_run_goes_on(
    target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    draw_folder: Callable[..., Path],
) -> None:
    """The draft of one file after the other meets ENOSPC, as the system reports it."""
    draw_folder(tmp_path / "data")
    words = [*finetune("--data", f"{tmp_path}/data", "--out", f"{tmp_path}/run"), "-q"]
    rename = Path.replace

    def full(draft: Path, place: Path) -> Path:
        if place.name == target:
            raise OSError(28, "No space left on device")
        return rename(draft, place)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        assert main(words) == Exit.USAGE
    told = capsys.readouterr().err
    assert "cannot be written: No space left on device" in told
    assert target in told
    assert told.count("\n") == 1
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob(target))
    assert main(words) == Exit.FIT
    assert list(tmp_path.rglob(target))


def test_a_full_journal_is_told_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The event log is appended to, not replaced; its failure is no bug either."""
    opened = Path.open

    def full(path: Path, *mode: str, **options: str) -> object:
        if path.name == "events.jsonl":
            raise OSError(28, "No space left on device", str(path))
        return opened(path, *mode, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    assert main([*finetune("--out", str(tmp_path / "run")), "-q"]) == Exit.USAGE
    assert "No space left on device; what was finished is kept" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "run").exists()


def test_a_file_size_limit_of_the_system(
    tmp_path: Path,
    started: Callable[..., object],
    draw_folder: Callable[..., Path],
) -> None:
    """The real thing: the kernel refuses the write, wherever a library makes it."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (99_000,) * 2)"
    words = [*finetune("--data", str(draw_folder(tmp_path / "data"))), "-q", "--out"]
    done = started(*words, str(tmp_path / "run"), before=limit)
    assert done.returncode == Exit.USAGE, done.stderr
    assert "cannot be written: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("library", "words", "extra"),
    [
        ("torch", finetune(), "compress"),
        ("pydantic", finetune(), "compress"),
        ("timm", finetune(), "compress"),
        ("onnx", finetune(), "export"),
        ("onnxruntime", finetune(), "onnx"),
        ("sklearn", finetune("--data", "digits"), "compress"),
    ],
)
def test_a_missing_library_is_told_before_the_work(
    library: str,
    words: tuple[str, ...],
    extra: str,
    tmp_path: Path,
    started: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """An import system without it is what a machine without it has."""
    hidden = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {library!r}:\n"
        f"            raise ModuleNotFoundError('hidden', name={library!r})\n"
        "sys.meta_path.insert(0, Hidden())"
    )
    done = started(*words, "--out", str(tmp_path / "run"), before=hidden)
    assert done.returncode == Exit.MISSING, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"compress: needs {library}")
    assert last.endswith(pip_line(extra))
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["endless.onnx", "endless.tflite", "pipe.onnx"])
def test_a_model_file_without_an_end_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link to a device and a pipe, which nobody writes to."""
    file = tmp_path / name
    os.mkfifo(file) if name.startswith("pipe") else file.symlink_to("/dev/zero")

    assert main(["profile", str(file)]) == Exit.REJECTED

    assert "is a pipe or a device, not a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("--out", "a" * 300),
        ("--size-bytes", "9" * 6000 + "MB"),
        ("--size-bytes", "1e99MB"),
        ("--size-bytes", "\uff12MB"),
        ("--latency-ms", "1e40s"),
    ],
)
def test_absurd_words_are_usage_errors(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in one sentence, before any work."""
    monkeypatch.chdir(tmp_path)

    assert main(["export", "--model", "lenet5", *words, "-q"]) == Exit.USAGE
    assert list(tmp_path.iterdir()) == []


def test_a_cache_of_more_than_all_disks_is_a_usage_error() -> None:
    assert main(["cache", "gc", "--max-size", "9" * 400 + "GB"]) == Exit.USAGE
