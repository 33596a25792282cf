"""A model at rest comes back bit for bit, or is refused with a sentence."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from compress.context.console import Console
from compress.models.build import build
from compress.models.checkpoint import (
    RECORD,
    TENSORS,
    is_model,
    load_model,
    save_model,
    weights_digest,
)
from compress.models.model import Model
from compress.models.spec import CodePath, ModelSpec
from runtime.errors import InputRejectedError, RecipeError
from runtime.files import read_json, sha256_of, write_json

FACTORY = """
from torch import nn


def build(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))
"""


def made(name: str, *, factory: str | None = None) -> Model:
    """A small model with weights that no fresh one has."""
    model = build(
        ModelSpec(name=name, factory=None if factory is None else CodePath(factory)),
        classes=("a", "b", "c"),
        native_size=32,
        seed=7,
        console=Console(verbosity="quiet"),
    )
    for buffer in model.net.buffers():
        buffer.add_(1)
    return model


@pytest.fixture(scope="module")
def model() -> Model:
    """A CIFAR ResNet-20: convolutions, norms with statistics, a classifier."""
    return made("resnet20")


@pytest.fixture
def saved(model: Model, tmp_path: Path) -> Path:
    """The folder it was saved into."""
    save_model(model, tmp_path / "saved")
    return tmp_path / "saved"


def test_a_model_comes_back_bit_for_bit(model: Model, saved: Path) -> None:
    """Weights, buffers, classes, preprocessing, spec; in eval mode; same logits."""
    loaded = load_model(saved)

    expected = model.net.state_dict()
    for name, value in loaded.net.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert len(loaded.net.state_dict()) == len(expected)
    assert (loaded.classes, loaded.preprocess) == (model.classes, model.preprocess)
    assert loaded.spec == model.spec
    assert not loaded.net.training
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded.net(images), model.net(images))
    assert weights_digest(loaded) == weights_digest(model)


def test_saving_twice_writes_the_same_bytes(saved: Path) -> None:
    first = {path.name: sha256_of(path) for path in saved.iterdir()}
    save_model(load_model(saved), saved)

    assert {path.name: sha256_of(path) for path in saved.iterdir()} == first
    assert set(first) == {TENSORS, RECORD}


def test_a_folder_without_a_record_is_no_model(saved: Path, tmp_path: Path) -> None:
    """The record is written last, so a folder that lacks it is not finished."""
    assert is_model(saved)
    (saved / RECORD).unlink()

    assert not is_model(saved)
    assert not is_model(tmp_path / "nowhere")


def truncate(folder: Path) -> None:
    """Cut the tensors short."""
    path = folder / TENSORS
    path.write_bytes(path.read_bytes()[:-100])


def flip(folder: Path) -> None:
    """Change one bit of one weight."""
    path = folder / TENSORS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def lose(folder: Path) -> None:
    """Remove the tensors."""
    (folder / TENSORS).unlink()


def change(**fields: object) -> Callable[[Path], None]:
    """Change the record."""

    def changed(folder: Path) -> None:
        write_json(folder / RECORD, read_json(folder / RECORD) | fields)

    return changed


def cut_record(folder: Path) -> None:
    """Cut the record short."""
    text = (folder / RECORD).read_text(encoding="utf-8")
    (folder / RECORD).write_text(text[:-10], encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (truncate, "missing, truncated or changed"),
        (flip, "missing, truncated or changed"),
        (lose, "missing, truncated or changed"),
        (change(spec={"name": "resnet32"}), "does not fit .*Missing key"),
        (change(spec={"name": "lenet5"}), "does not fit"),
        (change(classes=["a", "b"]), "does not fit .*size mismatch"),
        (change(format=2), "format 2, this edgepress reads 1"),
        (change(format=2, spec=None), "format 2, this edgepress reads 1"),
        (change(format=None), "format None, this edgepress reads 1"),
        (change(spec=None), "spec is null; allowed: a record"),
        (change(spec={"name": "resnet20", "color": 1}), "spec: color: unknown key"),
        (change(preprocess=None), "preprocess is null; allowed: a record"),
        (change(preprocess={"side": 32}), "preprocess: side is an unknown key"),
        (change(classes=None), "classes is null; allowed: a list"),
        (cut_record, "not readable as JSON"),
    ],
)
def test_a_damaged_model_is_refused(
    saved: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    """One sentence that names the file; never another exception or other weights."""
    damage(saved)

    with pytest.raises(
        InputRejectedError, match=f"(?s){saved.name}.*{sentence}"
    ) as error:
        load_model(saved)
    assert "\n" not in str(error.value)


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Tell pickle what to run."""
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


@pytest.mark.parametrize("bytes_of", [pickle.dumps, None], ids=["pickle", "torch"])
def test_pickle_is_never_involved(
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bytes_of: Callable[[object], bytes] | None,
) -> None:
    """A pickle in place of the tensors, digest and all, is refused and does not run."""
    monkeypatch.chdir(tmp_path)
    path = saved / TENSORS
    if bytes_of is None:
        torch.save({"weight": Bomb()}, path)
    else:
        path.write_bytes(bytes_of(Bomb()))
    change(sha256=sha256_of(path))(saved)

    with pytest.raises(InputRejectedError, match="not a whole safetensors file"):
        load_model(saved)

    assert not (tmp_path / "exploded").exists()


def test_loading_needs_no_unpickler(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled something")

    monkeypatch.setattr(pickle, "Unpickler", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(torch, "load", refuse)

    assert load_model(saved).classes == ("a", "b", "c")


def test_code_is_never_taken_from_a_file(tmp_path: Path) -> None:
    """A net of the user's own comes back only when its function is named again."""
    file = tmp_path / "my_net.py"
    file.write_text(FACTORY, encoding="utf-8")
    model = made("my_net", factory=f"{file}:build")
    save_model(model, tmp_path / "own")

    with pytest.raises(RecipeError, match=r"my_net.py:build.*--model-file"):
        load_model(tmp_path / "own")
    again = load_model(tmp_path / "own", factory=f"{file}:build")

    assert weights_digest(again) == weights_digest(model)
    text = json.dumps(read_json(tmp_path / "own" / RECORD)["spec"])
    assert "my_net.py" not in text


def test_a_digest_follows_what_the_network_computes(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """A weight, a buffer, the architecture or the user's code: each changes it."""
    file = tmp_path / "my_net.py"
    file.write_text(FACTORY, encoding="utf-8")
    digests = [weights_digest(tiny.model(tiny.net(seed=seed))) for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]

    moved = tiny.model()
    moved.net[1].running_mean[0] = 1.0
    own = made("my_net", factory=f"{file}:build")
    before = weights_digest(own)
    file.write_text(FACTORY + "\n# changed\n", encoding="utf-8")

    assert weights_digest(moved) != digests[0]
    assert weights_digest(own) != before
