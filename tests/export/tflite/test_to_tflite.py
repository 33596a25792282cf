"""The exported file: the integers of the simulation, its facts, and what is refused."""

import builtins
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from compress.int8.simulate import with_qdq
from export.tflite.reading import int8_macs_fraction, operators
from export.to_tflite import to_tflite
from runtime.artifact import Artifact
from runtime.errors import InputRejectedError, MissingDependencyError, RecipeError
from runtime.preprocess import Preprocess
from runtime.session import open_session

if TYPE_CHECKING:
    from conftest import Quantized, Workshop

pytest.importorskip("litert_torch")

# Where float sums are added in another order, and nothing else differs.
SAME_INTEGERS_DB = 100.0


def sqnr_db(want: np.ndarray, have: np.ndarray) -> float:
    """Signal to noise of scores."""
    noise = float(np.square(want - have, dtype=np.float64).sum())
    return 10 * np.log10(np.square(want, dtype=np.float64).sum() / max(noise, 1e-30))


def test_litert_computes_the_integers_of_the_simulation(
    everything: "Quantized", int8_file: Artifact
) -> None:
    """Oracle: the torch simulation; one step off anywhere costs tens of dB."""
    have = open_session(int8_file).run(everything.channels_last)

    assert sqnr_db(everything.answers(), have) > SAME_INTEGERS_DB


def test_nothing_but_edges_and_the_classifier_is_float(int8_file: Artifact) -> None:
    """No float islands, and no transposes: one for the shuffle's own swap of axes."""
    found = operators(int8_file.path)

    floats = Counter(each.name for each in found if not each.int8)
    assert floats == {"QUANTIZE": 1, "DEQUANTIZE": 2, "FULLY_CONNECTED": 1}
    assert Counter(each.name for each in found)["TRANSPOSE"] == 1
    assert "PADV2" not in {each.name for each in found}
    assert int8_macs_fraction(int8_file.path) > 0.99


def test_the_network_given_is_left_as_it_is(
    everything: "Quantized", tmp_path: Path, workshop: "Workshop"
) -> None:
    graph = with_qdq(everything.graph, everything.scheme)
    before, state = graph.code, {k: v.clone() for k, v in graph.state_dict().items()}

    workshop.written(graph, tmp_path / "net.tflite", layout="NCHW")

    assert graph.code == before
    for name, value in graph.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)
    have = open_session(tmp_path / "net.tflite").run(everything.images.numpy())
    assert sqnr_db(everything.answers(), have) > SAME_INTEGERS_DB


def test_int8_edges_give_the_same_logits_on_their_grid(
    everything: "Quantized", workshop: "Workshop", tmp_path: Path
) -> None:
    """Half a step, and a little for sums next to a tie, is all that rounding costs."""
    want = everything.answers()
    scale = float(np.abs(want).max()) / 127
    graph = with_qdq(everything.graph, everything.scheme)

    file = workshop.written(
        graph, tmp_path / "net.tflite", io="int8", logits=(scale, 0)
    )

    assert not [each for each in operators(file.path) if not each.int8]
    have = open_session(file).run(everything.channels_last)
    assert np.abs(have - want).max() <= 0.501 * scale


def test_a_float_file_computes_what_torch_computes(
    everything: "Quantized", float_file: Artifact
) -> None:
    with torch.inference_mode():
        want = everything.net(everything.images).numpy()

    have = open_session(float_file).run(everything.channels_last)

    np.testing.assert_allclose(have, want, atol=1e-4)
    assert (have.argmax(axis=1) == want.argmax(axis=1)).all()
    assert int8_macs_fraction(float_file.path) == 0


@pytest.mark.parametrize(
    ("dtype", "least_db", "share"), [("float16", 50, 0.5), ("dynamic", 25, 0.25)]
)
def test_smaller_weights_make_a_smaller_file_with_about_the_same_answers(
    workshop: "Workshop", tmp_path: Path, dtype: str, least_db: float, share: float
) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 64, 3),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 10),
    ).eval()
    weights = sum(each.numel() for each in net.parameters() if each.dim() > 1)
    rest = sum(each.numel() for each in net.parameters() if each.dim() == 1)
    images = workshop.pixels(8, 32)

    file = workshop.written(net, tmp_path / "net.tflite", dtype=dtype)

    channels = 4 * rest * (dtype == "dynamic")
    assert file.size_bytes == pytest.approx(
        4 * (weights * share + rest) + channels, rel=0.05, abs=6000
    )
    with torch.inference_mode():
        want = net(images).numpy()
    have = open_session(file).run(images.numpy().transpose(0, 2, 3, 1).copy())
    assert sqnr_db(want, have) > least_db


def test_the_file_says_what_it_is_without_its_twin(int8_file: Artifact) -> None:
    """The archive at its end, read with zipfile; the sidecar says the same."""
    sidecar = int8_file.sidecar.read_bytes()
    assert Artifact.read(int8_file.path) == int8_file
    int8_file.sidecar.unlink()
    try:
        alone = Artifact.read(int8_file.path)
    finally:
        int8_file.sidecar.write_bytes(sidecar)

    assert alone == int8_file
    assert alone.preprocess == Preprocess(size=32, resize=32, layout="NHWC")
    with zipfile.ZipFile(int8_file.path) as archive:
        lines = archive.read("labels.txt").decode().splitlines()
    assert tuple(lines) == int8_file.classes


def test_the_same_network_gives_the_same_bytes(
    everything: "Quantized", int8_file: Artifact, workshop: "Workshop", tmp_path: Path
) -> None:
    graph = with_qdq(everything.graph, everything.scheme)
    again = workshop.written(graph, tmp_path / "everything.tflite")
    assert again.sha256 == int8_file.sha256


@pytest.mark.parametrize(
    ("options", "name", "sentence"),
    [
        ({}, "net.onnx", "must end in .tflite"),
        ({"dtype": "float32", "io": "int8"}, "net.tflite", "need int8 within"),
        ({"io": "int8"}, "net.tflite", "needs the grid of the logits"),
    ],
)
def test_what_cannot_be_written_is_a_sentence(
    workshop: "Workshop",
    tmp_path: Path,
    options: dict[str, str],
    name: str,
    sentence: str,
) -> None:
    with pytest.raises(RecipeError, match=sentence):
        workshop.written(nn.Identity(), tmp_path / name, **options)


def test_a_float_network_has_no_int8_file(
    everything: "Quantized", workshop: "Workshop", tmp_path: Path
) -> None:
    with pytest.raises(InputRejectedError, match=r"float network.*quantize it first"):
        workshop.written(everything.net, tmp_path / "net.tflite", dtype="int8")
    assert not list(tmp_path.iterdir())


def test_a_missing_converter_is_named_with_its_extra(
    workshop: "Workshop", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name.partition(".")[0] == "litert_torch":
            raise ModuleNotFoundError(name, name=name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"'litert-torch>="):
        workshop.written(nn.Identity(), tmp_path / "net.tflite", dtype="float32")


def test_a_network_with_other_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRejectedError, match="expected logits"):
        to_tflite(
            nn.Flatten(),
            size=8,
            path=tmp_path / "net.tflite",
            classes=("a", "b"),
            preprocess=Preprocess(size=8, resize=8),
            recipe_sha256="f00",
            name="flat",
        )
