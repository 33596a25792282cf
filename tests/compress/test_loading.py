"""Models as people have them, through the command line: what loads, what is told."""

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from compress.cli.main import main
from compress.context.console import Console
from compress.models.build import build
from compress.models.checkpoint import load_model, save_model
from compress.models.factory import from_factory
from compress.models.memory_format import memory_format_of
from compress.models.nets.lenet import LeNet5
from compress.models.spec import ModelSpec
from runtime.errors import Exit, InputRejectedError
from runtime.files import SEAL

pytestmark = pytest.mark.usefixtures("own_cache")

VIEW = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn

@dataclass
class Config:
    width: int = 8

class Net(nn.Module):
    def __init__(self, classes, config):
        super().__init__()
        width = config.width
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Linear(width, width)
        self.body = nn.Conv2d(width, width, 3, 4, 1)
        self.head = nn.Linear(width * 16, classes)

    def forward(self, x):
        x = self.stem(x)
        gate = torch.sigmoid(self.gate(self.pool(x).view(x.size(0), -1)))
        x = x * gate.view(x.size(0), -1, 1, 1).expand_as(x)
        x = torch.relu(self.body(x))
        x = x.view(x.size(0), -1)
        return self.head(x)

def build(num_classes=10):
    return Net(num_classes, Config())

def broken(num_classes=10):
    net = build(num_classes)
    net.head = nn.Linear(3, num_classes)
    return net

def leaves():
    raise SystemExit(0)
"""
DATA = ("--data", "digits", "--threads", "1", "-q")
SHORT = ("--train-images", "60", "--epochs", "1")


@pytest.fixture
def factory(tmp_path: Path) -> str:
    """A file with a network that views its feature maps."""
    (tmp_path / "net.py").write_text(VIEW, encoding="utf-8")
    return f"{tmp_path / 'net.py'}:build"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """That file, and a run in which the network was trained a little."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "net.py").write_text(VIEW, encoding="utf-8")
    factory = f"{folder / 'net.py'}:build"
    words = ("finetune", "--model-file", factory, *DATA, *SHORT)
    # Sixty images teach little, so a verdict on accuracy is another test's.
    assert main([*words, "--out", str(folder / "run")]) in {Exit.FIT, Exit.BUDGET}
    return factory, folder / "run"


def test_the_memory_format_is_found_by_a_trial(factory: str) -> None:
    """Channels last fails in the view, by torch's own word; LeNet-5 flattens."""
    net = from_factory(factory, classes=10)
    images = torch.zeros(2, 3, 32, 32)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        net(images.contiguous(memory_format=torch.channels_last))

    assert memory_format_of(net, size=32) is torch.contiguous_format
    assert (
        memory_format_of(LeNet5(classes=10, width=1.0), size=32) is torch.channels_last
    )
    assert net.training


@pytest.mark.parametrize(
    "words",
    [
        ("eval",),
        ("prune", "--ratio", "0.3", "--round-to", "4", *SHORT),
        ("sparsify", "--sparsity", "0.5", *SHORT),
        ("factorize", "--energy", "0.9", *SHORT),
        ("quantize", "--train-images", "60"),
        ("quantize", "--mode", "qat", *SHORT),
    ],
)
def test_views_of_feature_maps_work_in_every_verb(
    tmp_path: Path, trained: tuple[str, Path], words: tuple[str, ...]
) -> None:
    """After training, whose result lies in memory as training needed it."""
    factory, run = trained
    mine = ("--model-file", factory, *DATA)

    code = main([*words, *mine, "--model", str(run), "--out", str(tmp_path / "out")])

    # Sixty images teach little, so a verdict on accuracy is another test's.
    assert code in {Exit.FIT, Exit.BUDGET}


def test_a_view_goes_to_tflite(tmp_path: Path, factory: str) -> None:
    """Proved on images by the run itself."""
    pytest.importorskip("litert_torch")
    words = ("export", "--model-file", factory, *DATA, "--to", "onnx,tflite")

    assert main([*words, "--out", str(tmp_path / "out")]) == Exit.FIT

    report = json.loads((tmp_path / "out" / "report.json").read_text())
    for file in report["artifacts"]:
        assert file["parity"]["sqnr_db"] is None or file["parity"]["sqnr_db"] > 100


def test_a_view_teaches(tmp_path: Path, factory: str) -> None:
    """As a teacher, whose copy is brought into a memory format of its own."""
    words = (
        "distill",
        "--teacher",
        "net",
        "--teacher-file",
        factory,
        "--teacher-epochs",
    )
    words = (*words, "1", "--student", "lenet5", *DATA, *SHORT)

    assert main([*words, "--out", str(tmp_path / "out")]) in {Exit.FIT, Exit.BUDGET}


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("broken", r"net.py, line 29: RuntimeError"),
        ("leaves", r"net.py, line 40: SystemExit"),
    ],
)
def test_what_is_wrong_in_a_model_file_is_told_with_its_line(
    factory: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    said: str,
) -> None:
    """Also where the path is relative, and where the network runs, not only builds."""
    folder = Path(factory.rpartition(":")[0]).parent
    monkeypatch.chdir(folder)

    code = main(["eval", "--model-file", f"net.py:{function}", *DATA])

    assert code == Exit.USAGE
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("net.onnx", "is an exported file, which has no layers"),
        ("photo.jpg", "is an image; --data takes"),
        ("recipe.yaml", "`compress run` takes it"),
        ("net.py", "--model-file FILE.py:FUNCTION"),
        ("some.thing", "is a file, but no model"),
        ("fasterrcnn_resnet50_fpn", "is a detector; edgepress compresses image"),
        ("deeplabv3_resnet50", "is a segmenter; edgepress compresses image"),
        ("resnet5O", "did you mean"),
    ],
)
def test_what_is_no_model_is_told_what_it_is(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    said: str,
) -> None:
    """Files that exist are not taken for misspelt names, nor are other networks."""
    monkeypatch.chdir(tmp_path)
    if "." in name:
        (tmp_path / name).write_bytes(b"x")

    code = main(["prune", "--model", name, "--ratio", "0.5", *DATA, "--out", "out"])

    assert code == Exit.USAGE
    assert said in capsys.readouterr().err


def test_a_hostile_checkpoint_is_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 3, through the command line."""
    record: dict[str, object] = {}
    record["model"] = record
    torch.save(record, tmp_path / "loop.pt")

    code = main(
        ["eval", "--model", "lenet5", "--weights", str(tmp_path / "loop.pt"), *DATA]
    )

    assert code == Exit.REJECTED
    assert "wrappers within wrappers" in capsys.readouterr().err


@pytest.fixture
def save_lenet() -> Callable[[Path], None]:
    """Write a LeNet-5 into a folder, as a stage would."""

    def save(folder: Path) -> None:
        spec = ModelSpec(name="lenet5")
        console = Console(verbosity="quiet")
        classes = tuple("0123456789")
        save_model(
            build(spec, classes=classes, native_size=8, seed=0, console=console), folder
        )

    return save


def changed(folder: Path, **spec: object) -> Path:
    """A saved model whose record says something else about its architecture."""
    file = folder / "model.json"
    record = json.loads(file.read_text())
    record["spec"].update(spec)
    del record[SEAL]  # else it would be refused for having been changed
    file.write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize(
    "spec",
    [{"width": 8.0}, {"name": "resnet50", "width": 8.0}, {"name": "vgg19"}],
)
def test_a_record_cannot_ask_for_a_network_of_another_size(
    tmp_path: Path, save_lenet: Callable[[Path], None], spec: dict[str, object]
) -> None:
    """Before any memory is taken: shapes are counted, and the file's header is read."""
    save_lenet(tmp_path)
    weights = sum(t.numel() for t in load_file(tmp_path / "model.safetensors").values())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()

    with pytest.raises(InputRejectedError, match=f"holds {weights}; one of the two"):
        load_model(changed(tmp_path, **spec))

    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
