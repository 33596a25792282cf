"""Keras files that are corrupt, hostile or no image classifiers: one sentence each."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from compress.models.keras.model import translated
from runtime.errors import InputRejectedError, MissingDependencyError, RecipeError

Record = dict[str, object]
SIDE = 8


def layer(kind: str, name: str, after: str | None, **options: object) -> Record:
    """A layer as Keras 2 writes it."""
    return {
        "class_name": kind,
        "name": name,
        "config": {"name": name} | options,
        "inbound_nodes": [] if after is None else [[[after, 0, 0, {}]]],
    }


def network(**changes: object) -> Record:
    """Image, convolution, mean; every part can be changed."""
    shape = changes.pop("shape", [None, SIDE, SIDE, 3])
    middle = changes.pop("middle", None)
    layers = [
        layer("InputLayer", "image", None, batch_input_shape=shape),
        middle or layer("ReLU", "middle", "image"),
        layer("Conv2D", "conv", "middle", kernel_size=[1, 1]),
        layer("GlobalAveragePooling2D", "mean", "conv"),
    ]
    config: Record = {
        "layers": layers,
        "input_layers": [["image", 0, 0]],
        "output_layers": [["mean", 0, 0]],
    }
    return {"class_name": "Functional", "config": config | changes}


def h5(path: Path, record: object, *, outputs: int = 4) -> Path:
    """A whole .h5 file around a description."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.8.0"
        file.attrs["model_config"] = (
            record if isinstance(record, str) else json.dumps(record)
        )
        group = file.create_group("model_weights/conv")
        group.attrs["weight_names"] = ["conv/kernel:0", "conv/bias:0"]
        group["conv/kernel:0"] = np.ones((1, 1, 3, outputs), np.float32)
        group["conv/bias:0"] = np.ones(outputs, np.float32)
    return path


def zipped(path: Path, members: dict[str, bytes] | None = None) -> Path:
    """A whole .keras file, with `members` besides or instead."""
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["layers/conv2d/vars/0"] = np.ones((1, 1, 3, 4), np.float32)
        file["layers/conv2d/vars/1"] = np.ones(4, np.float32)
    whole = {
        "metadata.json": b'{"keras_version": "3.15.1"}',
        "config.json": json.dumps(network()).encode(),
        "model.weights.h5": weights.getvalue(),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (whole | (members or {})).items():
            archive.writestr(name, content)
    return path


def refused(path: Path) -> str:
    """The one sentence about a file that is rejected."""
    with pytest.raises(InputRejectedError) as found:
        translated(path)
    sentence = str(found.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


def test_the_files_of_these_tests_are_sound_until_they_are_spoilt(
    tmp_path: Path,
) -> None:
    assert translated(h5(tmp_path / "a.h5", network())).plan.outputs == 4
    assert translated(zipped(tmp_path / "a.keras")).plan.outputs == 4


@pytest.mark.parametrize("name", ["a.h5", "a.keras"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_rejected(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    whole = h5(path, network()) if name == "a.h5" else zipped(path)
    content = whole.read_bytes()

    path.write_bytes(content[: int(len(content) * share)])

    assert "truncated" in refused(path)


@pytest.mark.parametrize("name", ["a.h5", "a.keras"])
def test_a_corrupt_file_is_rejected_or_still_a_network(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte here and there may be a weight; nothing but a sentence may come of it.

    Read at once in this process, which is what has to hold where HDF5 is new.
    """
    monkeypatch.setattr("compress.models.keras.file.try_out", lambda _: None)
    path = tmp_path / name
    content = (h5(path, network()) if name == "a.h5" else zipped(path)).read_bytes()
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(100):
        spoilt = bytearray(content)
        for place in rng.integers(0, len(content), 8):
            spoilt[place] ^= int(rng.integers(1, 256))
        path.write_bytes(spoilt)
        try:
            translated(path)
        except InputRejectedError as error:
            rejected += "\n" not in str(error)
    assert rejected > 20


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"middle": layer("Lambda", "middle", "image", function="x")},
            "layer 'middle' (Lambda): holds Python code, which is never executed",
        ),
        (
            {"middle": layer("LSTM", "middle", "image")},
            "layer 'middle' (LSTM): is not translated",
        ),
        (
            {"middle": layer("Mine", "middle", "image") | {"module": "my_net"}},
            "layer 'middle' (Mine): its code is in my_net",
        ),
        (
            {"middle": layer("Activation", "middle", "image", activation="mish")},
            "layer 'middle' (Activation): unknown activation 'mish'",
        ),
        (
            {"middle": layer("ReLU", "middle", "image", threshold=0.5)},
            "threshold 0.5; allowed: 0",
        ),
        (
            {
                "middle": layer(
                    "MaxPooling2D", "middle", "image", data_format="channels_first"
                )
            },
            "is channels_first; allowed: channels_last",
        ),
        (
            {"middle": layer("Conv2D", "middle", "image", kernel_size=[1, 1])},
            "lacks the weights",
        ),
        ({"middle": layer("ReLU", "middle", "conv")}, "form a circle"),
        ({"middle": layer("ReLU", "middle", "nobody")}, "'nobody' is read but never"),
        ({"middle": layer("ReLU", "conv", "image")}, "two of its layers have one name"),
        ({"middle": "ReLU"}, "describes a layer that is no record"),
        ({"shape": [None, 128]}, "takes [128]; allowed: square color images"),
        ({"shape": [None, 8, 8, 1]}, "takes [8, 8, 1]; allowed: square color images"),
        ({"shape": [None, 8, 9, 3]}, "allowed: square color images"),
        (
            {"input_layers": [["image", 0, 0], ["other", 0, 0]]},
            "has 2 inputs; allowed: one image in, one answer out",
        ),
        (
            {"output_layers": [["mean", 0, 0], ["conv", 0, 0]]},
            "has 2 outputs; allowed: one image in, one answer out",
        ),
        ({"output_layers": [["conv", 0, 0]]}, "gives no row of scores for an image"),
        ({"layers": None}, "is written in Python, and code is never executed"),
    ],
)
def test_what_cannot_be_translated_is_named(
    tmp_path: Path, change: Record, sentence: str
) -> None:
    assert sentence in refused(h5(tmp_path / "a.h5", network(**change)))


def test_a_network_with_one_score_is_no_classifier(tmp_path: Path) -> None:
    sentence = refused(h5(tmp_path / "a.h5", network(), outputs=1))

    assert "gives 1 score for an image" in sentence


def test_weights_without_layers_are_no_model(tmp_path: Path) -> None:
    path = h5(tmp_path / "a.h5", network())
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]

    assert "holds weights only, no layers" in refused(path)


@pytest.mark.parametrize("text", ["[]", "3", '{"a"', "[" * 100_000])
def test_a_description_that_is_none_is_rejected(tmp_path: Path, text: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["model_config"] = text[:60_000]

    refused(tmp_path / "a.h5")


def test_models_that_unfold_without_end_are_rejected(tmp_path: Path) -> None:
    """Each calls the next one twice: 2 kB that stand for 2^40 layers."""
    record = layer("ReLU", "leaf", "image")
    for depth in range(40):
        twice = dict(record, inbound_nodes=[[["in", 0, 0, {}]], [["m", 0, 0, {}]]])
        twice["name"] = "m"
        config = {
            "name": f"m{depth}",
            "layers": [layer("InputLayer", "in", None), twice],
            "input_layers": [["in", 0, 0]],
            "output_layers": [["m", 1, 0]],
        }
        record = {"class_name": "Functional", "name": "middle", "config": config}
    record["inbound_nodes"] = [[["image", 0, 0, {}]]]

    path = h5(tmp_path / "a.h5", network(middle=record))

    assert "unfolds to more than" in refused(path)


def elsewhere(group: h5py.Group) -> None:
    """A link to another file."""
    group["conv/kernel:0"] = h5py.ExternalLink("/etc/other.h5", "x")


def outside(group: h5py.Group) -> None:
    """Numbers that lie in another file."""
    external = [("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
    group.create_dataset("conv/kernel:0", (1, 1, 3, 4), "f4", external=external)


def virtual(group: h5py.Group) -> None:
    """Numbers that are views of another file."""
    layout = h5py.VirtualLayout((1, 1, 3, 4), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (1, 1, 3, 4))
    group.create_virtual_dataset("conv/kernel:0", layout)


def diverged(group: h5py.Group) -> None:
    """Numbers that are none."""
    group["conv/kernel:0"] = np.full((1, 1, 3, 4), np.nan, np.float32)


def quantized(group: h5py.Group) -> None:
    """Whole numbers."""
    group["conv/kernel:0"] = np.ones((1, 1, 3, 4), np.int8)


def misshapen(group: h5py.Group) -> None:
    """The weights of a larger kernel."""
    group["conv/kernel:0"] = np.ones((3, 3, 3, 4), np.float32)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (elsewhere, "is a link to elsewhere"),
        (outside, "lie in another file"),
        (virtual, "lie in another file"),
        (diverged, "NaN or infinite"),
        (quantized, "its weights are int8"),
        (misshapen, "kernel of (3, 3)"),
    ],
)
def test_weights_that_are_not_what_they_seem_are_rejected(
    tmp_path: Path, spoil: Callable[[h5py.Group], None], sentence: str
) -> None:
    path = h5(tmp_path / "a.h5", network())
    with h5py.File(path, "r+") as file:
        del file["model_weights/conv/conv/kernel:0"]
        spoil(file["model_weights/conv"])

    assert sentence in refused(path)


@pytest.mark.parametrize(
    "name", ["../../escaped.py", "/escaped.py", "model.pkl", "assets/x.pickle"]
)
def test_a_zip_with_anything_else_in_it_is_rejected(tmp_path: Path, name: str) -> None:
    """Nothing is unpacked, so nothing can escape; a pickle is not even looked at."""
    path = zipped(tmp_path / "a.keras", {name: b"cos\nsystem\n(S'true'\ntR."})

    assert f"holds {name!r}, which is not read" in refused(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_zip_with_two_members_of_one_name_is_rejected(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.keras")
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(path, "a") as archive,
    ):
        archive.writestr("config.json", b"{}")

    assert "holds each of config.json" in refused(path)


def test_a_file_that_is_not_there_is_a_slip_of_the_pen(tmp_path: Path) -> None:
    (tmp_path / "folder.keras").mkdir()
    for name, sentence in (
        ("none.h5", "no such file"),
        ("folder.keras", "is a folder"),
    ):
        with pytest.raises(RecipeError, match=sentence):
            translated(tmp_path / name)


def test_without_h5py_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.context.extras.find_spec", lambda _: None)

    with pytest.raises(MissingDependencyError, match="pip install 'h5py>="):
        translated(h5(tmp_path / "a.h5", network()))
