"""Sparsify as a stage: how many zeros, where, what it refuses, and who keeps them."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from compress.context.console import Console
from compress.int8.grids import weight_steps
from compress.int8.simulate import QuantizedNet
from compress.models.build import build
from compress.models.checkpoint import load_model, save_model
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.recipe.finetune import FineTune
from compress.recipe.ptq import Ptq
from compress.recipe.qat import Qat
from compress.recipe.sparsify import Sparsify
from compress.sparsity.goal import weights_of, zeros_in
from compress.sparsity.record import RECORD
from runtime.errors import RecipeError


def stage(**fields: object) -> Sparsify:
    """Short training at a constant rate."""
    filled = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "augment": "none"}
    return Sparsify.model_validate(filled | fields)


@pytest.fixture
def resnet(tiny: ModuleType) -> Model:
    """A residual network whose classes and size are those of the tiny data."""
    model = build(
        ModelSpec(name="cifar_resnet20", width=0.5),
        classes=tiny.CLASSES,
        native_size=8,
        size=8,
        seed=0,
        console=Console(verbosity="quiet"),
    )
    return replace(model, trained=True)


def share(net: nn.Module) -> float:
    """The share of zeros among all weights."""
    weights = weights_of(net).values()
    return zeros_in(weights) / sum(each.numel() for each in weights)


@pytest.mark.parametrize("thinning", ["one-shot", "cubic"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_share_is_reached_and_written_down(
    tiny: ModuleType, tmp_path: Path, resnet: Model, thinning: str, scope: str
) -> None:
    context = tiny.context(tmp_path)
    dense = {name: value.clone() for name, value in resnet.net.state_dict().items()}

    made = stage(sparsity=0.8, thinning=thinning, scope=scope)(
        resnet, tiny.Opened(tiny.data()), context
    )  # type: ignore[arg-type]

    assert share(made.net) == pytest.approx(0.8, abs=1e-3)
    assert set(made.surgery.masked.values()) == {"unstructured"}
    assert made.surgery.masked.keys() == weights_of(made.net).keys()
    found = json.loads((tmp_path / RECORD).read_text(encoding="utf-8"))
    assert found["zeros"] / found["weights"] == share(made.net)
    assert sum(layer["zeros"] for layer in found["layers"]) == found["zeros"]
    assert tiny.same(resnet.net.state_dict(), dense)


def test_a_training_of_one_step_gets_there_too(
    tiny: ModuleType, tmp_path: Path, resnet: Model
) -> None:
    """No step comes after the last weights are due; they go all the same."""
    made = stage(sparsity=0.8, epochs=1, batch_size=64)(
        resnet, tiny.Opened(tiny.data()), tiny.context(tmp_path)
    )  # type: ignore[arg-type]
    assert share(made.net) == pytest.approx(0.8, abs=1e-3)


def test_a_pattern_holds_in_every_layer_that_it_suits(
    tiny: ModuleType, tmp_path: Path, resnet: Model
) -> None:
    """Three input channels make no groups of four: the stem stays dense."""
    made = stage(pattern="2:4")(
        resnet, tiny.Opened(tiny.data()), tiny.context(tmp_path)
    )  # type: ignore[arg-type]

    for name, weight in weights_of(made.net).items():
        if name == "conv1.weight":
            assert zeros_in([weight]) == 0
            continue
        groups = weight.movedim(1, -1).reshape(-1, 4)
        assert ((groups != 0).sum(dim=1) == 2).all()
        assert made.surgery.masked[name] == "2:4"


def test_spared_layers_stay_dense(
    tiny: ModuleType, tmp_path: Path, resnet: Model
) -> None:
    made = stage(sparsity=0.5, epochs=0, spare=("conv1", "linear"))(
        resnet, tiny.Opened(tiny.data()), tiny.context(tmp_path)
    )  # type: ignore[arg-type]
    weights = weights_of(made.net)
    assert zeros_in([weights["conv1.weight"], weights["linear.weight"]]) == 0
    assert "linear.weight" not in made.surgery.masked


def test_without_training_only_the_smallest_weights_change(
    tiny: ModuleType, tmp_path: Path, resnet: Model
) -> None:
    """No images are needed either."""
    made = stage(sparsity=0.5, epochs=0)(
        resnet, tiny.Opened(replace(tiny.data(), train=None)), tiny.context(tmp_path)
    )  # type: ignore[arg-type]
    for name, weight in weights_of(made.net).items():
        before = resnet.net.get_parameter(name)
        assert torch.equal(weight, before * (weight != 0))


def test_a_second_stage_adds_zeros_to_those_of_the_first(
    tiny: ModuleType, tmp_path: Path, resnet: Model
) -> None:
    data = tiny.Opened(tiny.data())
    once = stage(sparsity=0.5, epochs=0)(resnet, data, tiny.context(tmp_path / "1"))  # type: ignore[arg-type]
    twice = stage(sparsity=0.8)(once, data, tiny.context(tmp_path / "2"))  # type: ignore[arg-type]
    assert share(twice.net) == pytest.approx(0.8, abs=1e-3)
    assert masks_grew(once.net, twice.net)


def masks_grew(before: nn.Module, after: nn.Module) -> bool:
    """Whether what was zero still is."""
    return all(
        bool((after.get_parameter(name)[weight == 0] == 0).all())
        for name, weight in weights_of(before).items()
    )


@pytest.fixture
def sparse(tiny: ModuleType, tmp_path: Path, resnet: Model) -> Model:
    """A network that is half zeros, saved and loaded again."""
    context = tiny.context(tmp_path / "sparse")
    made = stage(sparsity=0.5, epochs=0)(resnet, tiny.Opened(tiny.data()), context)  # type: ignore[arg-type]
    save_model(made, context.folder)
    return load_model(context.folder)


def test_a_masked_model_keeps_its_zeros_in_later_training(
    tiny: ModuleType, tmp_path: Path, sparse: Model
) -> None:
    """Loaded from its folder: the record alone says so."""
    tuned = FineTune(epochs=2, batch_size=8)(
        sparse, tiny.Opened(tiny.data()), tiny.context(tmp_path / "tuned")
    )  # type: ignore[arg-type]
    assert masks_grew(sparse.net, tuned.net)
    assert share(tuned.net) == share(sparse.net)


@pytest.mark.parametrize(
    "after",
    [
        Ptq(calib_images=12, ranges="minmax"),
        Ptq(
            calib_images=12,
            ranges="minmax",
            equalize=True,
            correct_bias="all",
            learn_rounding=True,
        ),
        Qat(epochs=2, batch_size=8, learning_rate=0.05, calib_images=12),
        Qat(epochs=1, batch_size=8, learning_rate=0.05, calib_images=12, lsq=True),
    ],
    ids=["ptq", "ptq with everything", "qat", "lsq"],
)
def test_what_is_zero_is_zero_in_int8(
    tiny: ModuleType, tmp_path: Path, sparse: Model, after: Ptq | Qat
) -> None:
    """Every masked place holds the integer 0, whatever was folded or learnt."""
    made = after(
        sparse, tiny.Opened(tiny.data(val=12)), tiny.context(tmp_path / "int8")
    )  # type: ignore[arg-type]

    assert isinstance(made.net, QuantizedNet)
    graph, scales = made.net.graph, made.net.scheme.weights
    found = {
        tuple(getattr(graph, name).shape): [] for name in scales
    }  # by shape, in the order of the layers
    for name, steps in scales.items():
        weight = getattr(graph, name)
        found[tuple(weight.shape)].append(weight_steps(weight, steps))
    for name, weight in weights_of(sparse.net).items():
        integers = found[tuple(weight.shape)].pop(0)
        assert (integers[weight == 0] == 0).all(), name
        assert (integers != 0).any()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "give either a sparsity, such as 0.8, or a pattern"),
        ({"sparsity": 0.5, "pattern": "2:4"}, "give either a sparsity"),
        ({"sparsity": 0.0}, "greater than 0"),
        ({"sparsity": 1.0}, "less than 1"),
        ({"pattern": "3:4"}, "'2:4' or '4:8'"),
    ],
)
def test_what_no_recipe_may_say(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        stage(**fields)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"spare": ("conv9",)}, "spare: no layer 'conv9' with weights; known: conv1, "),
        ({"block": 7}, "no layer of CifarResNet has channels that suit blocks of 7"),
        ({"patience": 2}, "patience: the best epoch may lie before"),
    ],
)
def test_what_does_not_go_with_the_network_is_refused(
    tiny: ModuleType,
    tmp_path: Path,
    resnet: Model,
    fields: dict[str, object],
    sentence: str,
) -> None:
    with pytest.raises(RecipeError, match=sentence):
        stage(sparsity=0.5, **fields)(
            resnet, tiny.Opened(tiny.data()), tiny.context(tmp_path)
        )  # type: ignore[arg-type]
