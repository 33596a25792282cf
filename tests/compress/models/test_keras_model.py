"""A Keras file as a model like any other: judged, given a head, kept, exported."""

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from compress.context.console import Console
from compress.context.context import RunContext
from compress.data.dataset import find
from compress.data.spec import DataSpec
from compress.models.build import build, fits
from compress.models.checkpoint import RECORD, load_model, save_model, weights_digest
from compress.models.keras.model import translated
from compress.models.keras.net import KerasNet
from compress.models.keras.plan import Plan
from compress.models.model import Model
from compress.models.opening import is_trained_for, open_model
from compress.models.spec import ModelSpec
from export.to_onnx import to_onnx
from runtime.errors import InputRejectedError, RecipeError
from runtime.files import read_json
from runtime.session import open_session

NAME = "weights/mobilenet_v1_0.25_224.h5"


@pytest.fixture
def mobilenet(shared_data: Path, tmp_path: Path) -> Path:
    """The real MobileNetV1 of Keras 2, alone in a folder that may change."""
    return Path(shutil.copy(shared_data / NAME, tmp_path / "mobilenet.h5"))


def opened(spec: ModelSpec, console: Console, *, size: int | None = None) -> Model:
    """The model as `eval` and `export` open it."""
    return build(
        spec, classes=None, native_size=None, seed=0, console=console, size=size
    )


def rewritten(path: Path, change: Callable[[dict[str, object]], None]) -> Path:
    """The same file with another description of its layers."""
    with h5py.File(path, "r+") as file:
        record = json.loads(file.attrs["model_config"])
        change(record["config"])
        file.attrs["model_config"] = json.dumps(record)
    return path


def test_a_real_network_of_keras_2_is_right_as_often_as_it_should_be(
    mobilenet: Path, shared_data: Path, console: Console, told: Callable[[], str]
) -> None:
    """650 images of ImageNet; its authors say 49.8 % of all 50,000, at 0.25 and 224."""
    from compress.evaluation.costs import accuracy

    model = opened(ModelSpec(name=str(mobilenet)), console)
    source = f"folder:{shared_data / 'images/imagenet_val_a.zip'}"
    data = find(
        DataSpec(source=source), seed=0, console=console, cache=mobilenet.parent
    )
    found = accuracy(model, data.images(model.preprocess))

    assert (model.preprocess.size, len(model.classes)) == (224, 1000)
    assert 0.55 < found.top1 < 0.70
    assert found.images == 650
    assert "softmax 'predictions' at its end is left out" in told()
    assert "pixels from -1 to 1" in told()


def test_a_kept_model_needs_its_file_no_more(mobilenet: Path, console: Console) -> None:
    model = opened(ModelSpec(name=str(mobilenet)), console)
    save_model(model, mobilenet.parent / "stage")
    mobilenet.unlink()

    loaded = load_model(mobilenet.parent / "stage")

    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.net(images), model.net(images))
    assert loaded.spec.name == "mobilenet.h5"
    assert weights_digest(loaded) == weights_digest(model)


def test_a_kept_model_whose_layers_were_changed_is_rejected_or_another(
    mobilenet: Path, console: Console
) -> None:
    folder = mobilenet.parent / "stage"
    model = opened(ModelSpec(name=str(mobilenet)), console)
    save_model(model, folder)
    record = read_json(folder / RECORD)
    for change, sentence in (
        ({"keras": {"steps": 3}}, "keras: steps is 3; allowed: a list"),
        (
            {"keras": {"steps": [], "output": "", "outputs": 1000, "side": 9}},
            "does not fit",
        ),
    ):
        (folder / RECORD).write_text(json.dumps(record | change))
        with pytest.raises(InputRejectedError, match=sentence):
            load_model(folder)
    layers = copy.deepcopy(dict(model.spec.plan or {}))
    for step in layers["steps"]:
        step["kind"] = "relu" if step["kind"] == "relu6" else step["kind"]
    other = replace(model, spec=model.spec.with_plan(layers))

    assert weights_digest(other) != weights_digest(model)


def test_other_classes_get_a_head_of_their_own_and_keep_the_rest(
    mobilenet: Path, console: Console, tmp_path: Path
) -> None:
    """Also from what was kept, when the file is gone."""
    context = RunContext(folder=tmp_path, cache=tmp_path, console=console)
    digits = find(DataSpec(), seed=0, console=console, cache=tmp_path)
    spec = ModelSpec(name=str(mobilenet))
    source = opened(spec, console)

    adapted = open_model(spec, digits, context, size=64, adapt=True)
    save_model(source, tmp_path / "stage")
    mobilenet.unlink()
    kept = ModelSpec(name=str(tmp_path / "stage"))
    again = open_model(kept, digits, context, size=None, adapt=True)

    for model, side in ((adapted, 64), (again, 224)):
        assert model.net(torch.zeros(2, 3, side, side)).shape == (2, 10)
        assert model.classes == digits.classes
        before, after = source.net.state_dict(), model.net.state_dict()
        fresh = {name for name in before if not before[name].equal(after[name])}
        assert fresh == {"conv_preds.weight", "conv_preds.bias"}


def test_a_file_is_trained_for_as_many_classes_as_it_has(
    mobilenet: Path, console: Console, tmp_path: Path
) -> None:
    digits = find(DataSpec(), seed=0, console=console, cache=tmp_path)
    spec = ModelSpec(name=str(mobilenet))

    assert not is_trained_for(spec, digits)
    assert fits(spec, tuple(str(index) for index in range(1000)))


def test_weights_from_elsewhere_replace_those_of_the_file(
    mobilenet: Path, console: Console, tmp_path: Path
) -> None:
    model = opened(ModelSpec(name=str(mobilenet)), console)
    state = {n: t + 1 if "conv_preds" in n else t for n, t in _floats(model).items()}
    torch.save(state, tmp_path / "other.pt")
    spec = ModelSpec(name=str(mobilenet), weights=str(tmp_path / "other.pt"))

    other = opened(spec, console)

    bias = model.net.state_dict()["conv_preds.bias"]
    torch.testing.assert_close(other.net.state_dict()["conv_preds.bias"], bias + 1)
    assert fits(spec, other.classes)


def _floats(model: Model) -> dict[str, torch.Tensor]:
    """The weights, without counters."""
    state = model.net.state_dict()
    return {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("scaling", "white"), [("signed", 1), ("unit", 1), ("raw", 255), ("imagenet", None)]
)
def test_what_a_network_is_fed_can_be_said(
    mobilenet: Path, console: Console, scaling: str, white: float | None
) -> None:
    spec = ModelSpec(name=f"{mobilenet}:{scaling}")
    model = opened(spec, console)

    fed = model.prepare(torch.full((1, 3, 224, 224), 255, dtype=torch.uint8))

    expected = (1 - 0.485) / 0.229 if white is None else white
    assert float(fed[0, 0, 0, 0]) == pytest.approx(expected)
    assert model.spec.name == f"mobilenet.h5:{scaling}"


def test_an_unknown_scaling_is_refused(mobilenet: Path, console: Console) -> None:
    with pytest.raises(RecipeError, match="unknown scaling 'loud'; known: signed"):
        opened(ModelSpec(name=f"{mobilenet}:loud"), console)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"width": 0.5}, "a Keras file comes as it is"),
        ({"weights": "pretrained"}, "a Keras file comes as it is"),
    ],
)
def test_options_that_mean_nothing_here_are_refused(
    mobilenet: Path, console: Console, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(RecipeError, match=sentence):
        opened(ModelSpec.model_validate({"name": str(mobilenet)} | change), console)


def test_a_size_that_is_too_small_is_refused(mobilenet: Path, console: Console) -> None:
    def fix_the_end(config: dict[str, object]) -> None:
        layers = config["layers"]
        assert isinstance(layers, list)
        (pool,) = [each for each in layers if each["name"].startswith("global")]
        pool["class_name"] = "AveragePooling2D"
        pool["config"] = {"name": pool["name"], "pool_size": [7, 7]}

    path = rewritten(mobilenet, fix_the_end)

    assert opened(ModelSpec(name=str(path)), console).preprocess.size == 224
    with pytest.raises(RecipeError, match="cannot run on 96x96 images"):
        opened(ModelSpec(name=str(path)), console, size=96)


def test_the_hard_sigmoid_of_keras_2_is_that_of_keras_2(mobilenet: Path) -> None:
    """Keras 2: clip(0.2 x + 0.5); Keras 3 has another, so Keras 3 is no oracle."""

    def make_hard(config: dict[str, object]) -> None:
        layers = config["layers"]
        assert isinstance(layers, list)
        layers[-1]["config"]["activation"] = "hard_sigmoid"

    soft, images = translated(mobilenet), torch.randn(2, 3, 224, 224)
    hard = translated(rewritten(mobilenet, make_hard))
    scores = []
    for found in (soft, hard):
        net = KerasNet(found.plan).eval()
        net.load_state_dict(found.state, strict=False)
        with torch.inference_mode():
            scores.append(net(images))

    torch.testing.assert_close(scores[1], (0.2 * scores[0] + 0.5).clamp(0, 1))


def test_arithmetic_of_keras_2_is_understood(mobilenet: Path) -> None:
    """`x * 2 - 1` as TensorFlow 2.4 to 2.15 wrote it: functions by name."""

    def add_arithmetic(config: dict[str, object]) -> None:
        layers = config["layers"]
        assert isinstance(layers, list)
        image = layers[0]["name"]
        for name, function, inbound in (
            ("twice", "math.multiply", [[image, 0, 0, {"y": 2.0, "name": None}]]),
            ("minus", "__operators__.sub", [["twice", 0, 0, {"y": 1.0}]]),
        ):
            layers.append(
                {
                    "class_name": "TFOpLambda",
                    "config": {"name": name, "function": function},
                    "name": name,
                    "inbound_nodes": inbound,
                }
            )
        layers[1]["inbound_nodes"] = [[["minus", 0, 0, {}]]]

    plain, images = translated(mobilenet), torch.rand(2, 3, 224, 224)
    changed = translated(rewritten(mobilenet, add_arithmetic))
    nets = [KerasNet(found.plan).eval() for found in (plain, changed)]
    for net in nets:
        net.load_state_dict(plain.state, strict=False)

    with torch.inference_mode():
        torch.testing.assert_close(nets[1](images), nets[0](images * 2 - 1))


def test_layers_survive_json(mobilenet: Path) -> None:
    plan = translated(mobilenet).plan
    text = json.dumps(plan.as_record())

    again = Plan.from_record(json.loads(text))

    assert json.dumps(again.as_record()) == text


def test_its_onnx_file_answers_alike_and_has_no_transposes(
    mobilenet: Path, console: Console
) -> None:
    """The network is NCHW through and through."""
    import onnx

    model = opened(ModelSpec(name=str(mobilenet)), console)
    path = mobilenet.with_suffix(".onnx")
    artifact = to_onnx(
        model.net,
        size=224,
        path=path,
        classes=model.classes,
        preprocess=model.preprocess,
        recipe_sha256="0" * 64,
        name="mobilenet",
    )
    images = torch.rand(2, 3, 224, 224) * 2 - 1

    session = open_session(artifact)
    with torch.inference_mode():
        expected = model.net(images).numpy()
    np.testing.assert_allclose(session.run(images.numpy()), expected, atol=1e-4)
    session.close()
    assert {node.op_type for node in onnx.load(path).graph.node} <= {
        *("Conv", "Clip", "Pad", "GlobalAveragePool", "Reshape", "Flatten"),
    }
