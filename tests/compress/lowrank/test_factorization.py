"""Factorize as a stage: what is split is recorded, fitted, and loads again."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from compress.context.console import Console
from compress.context.latency_target import LatencyTarget
from compress.data.dataset import Dataset
from compress.evaluation.costs import count_params
from compress.lowrank import factorization as factorizing
from compress.models.build import build
from compress.models.checkpoint import load_model, save_model
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.models.surgery.record import Surgery, Widths
from compress.pipeline.stages import carry_out
from compress.recipe.factorize import Factorize
from runtime.errors import InputRejectedError, RecipeError


@pytest.fixture
def lenet(tiny: ModuleType) -> Model:
    """Two spatial layers and three linear ones, 32x32 pixels."""
    model = build(
        ModelSpec(name="lenet5"),
        classes=tiny.CLASSES,
        native_size=32,
        size=32,
        seed=0,
        console=Console(verbosity="quiet"),
    )
    return replace(model, trained=True)


@pytest.fixture
def dataset(tiny: ModuleType) -> Dataset:
    return tiny.Opened(tiny.data(train=24, size=32))


@pytest.fixture
def by_params(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime on which a weight takes a microsecond."""

    def raced(
        candidates: list[nn.Module], shape: tuple[int, ...], **_: object
    ) -> tuple[float, ...]:
        assert shape[0] == 1
        return tuple(count_params(each) / 1000 for each in candidates)

    monkeypatch.setattr(factorizing, "raced", raced)


def stage(**fields: object) -> Factorize:
    filled = {"calib_images": 24, "round_to": 4, "batch_size": 8, "augment": "none"}
    return Factorize.model_validate(filled | fields)


def answers(model: Model, data: Dataset) -> Tensor:
    """What a model says of the training images."""
    assert data.train is not None
    pixels = torch.from_numpy(data.train.pixels).permute(0, 3, 1, 2)
    with torch.inference_mode():
        found: Tensor = model.net.eval()(model.prepare(pixels))
    return found


@pytest.mark.usefixtures("by_params")
def test_what_was_split_answers_alike_and_loads_bit_equal(
    tiny: ModuleType, tmp_path: Path, lenet: Model, dataset: Dataset
) -> None:
    """Fewer parameters, from a folder that needs no images and no search."""
    context = tiny.context(tmp_path)
    before = {name: value.clone() for name, value in lenet.net.state_dict().items()}

    result = carry_out(stage(energy=0.8), lenet, dataset, context)
    made = result.model

    assert tiny.same(lenet.net.state_dict(), before)
    assert count_params(made.net) < 0.9 * count_params(lenet.net)
    # An equal amount in all scores says nothing.
    expected, found = (
        each - each.mean(dim=1, keepdim=True)
        for each in (answers(lenet, dataset), answers(made, dataset))
    )
    assert (found - expected).norm() / expected.norm() < 0.05
    save_model(made, tmp_path / "saved")
    again = load_model(tmp_path / "saved")
    assert again.surgery == made.surgery
    assert torch.equal(answers(again, dataset), answers(made, dataset))
    assert result.findings is not None
    assert result.findings.kind == "factorisation"
    found = json.loads(json.dumps(result.findings.record))["layers"]
    ranks = {each["name"]: each["ranks"] for each in found if each["ranks"]}
    assert ranks == {
        name: list(how.ranks) for name, how in made.surgery.factorised.items()
    }
    assert len(found) == 5


@pytest.mark.usefixtures("by_params")
def test_only_the_named_layers_are_split(
    tiny: ModuleType, tmp_path: Path, lenet: Model, dataset: Dataset
) -> None:
    name = next(n for n, m in lenet.net.named_modules() if isinstance(m, nn.Linear))
    options = stage(energy=0.5, layers=(name,))
    made = tiny.made(options, lenet, dataset, tiny.context(tmp_path))
    assert set(made.surgery.factorised) == {name}
    assert made.surgery.factorised[name].kind == "linear"


@pytest.mark.usefixtures("by_params")
def test_the_factors_of_an_earlier_stage_are_not_split_again(
    tiny: ModuleType, tmp_path: Path, lenet: Model, dataset: Dataset
) -> None:
    once = tiny.made(stage(energy=0.9), lenet, dataset, tiny.context(tmp_path / "1"))
    twice = tiny.made(stage(energy=0.5), once, dataset, tiny.context(tmp_path / "2"))
    assert set(once.surgery.factorised) <= set(twice.surgery.factorised)
    assert not any(".0" in name[-2:] for name in twice.surgery.factorised)


@pytest.mark.usefixtures("by_params")
def test_masks_of_layers_that_are_gone_are_forgotten(
    tiny: ModuleType, tmp_path: Path, lenet: Model, dataset: Dataset
) -> None:
    names = [
        f"{n}.weight" for n, m in lenet.net.named_modules() if hasattr(m, "weight")
    ]
    masked = lenet.operated(
        lenet.net, Surgery(masked=dict.fromkeys(names, "unstructured"))
    )
    made = tiny.made(stage(energy=0.5), masked, dataset, tiny.context(tmp_path))
    split = {f"{name}.weight" for name in made.surgery.factorised}
    assert split
    assert made.surgery.masked.keys() == set(names) - split


@pytest.mark.usefixtures("by_params")
def test_a_pruned_network_keeps_its_widths(
    tiny: ModuleType, tmp_path: Path, lenet: Model, dataset: Dataset
) -> None:
    """A hidden layer of fewer units is split, saved and loaded."""
    linear = [n for n, m in lenet.net.named_modules() if isinstance(m, nn.Linear)]
    first, second = (lenet.net.get_submodule(name) for name in linear[:2])
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    units = first.out_features - 8
    pruned = lenet.operated(
        lenet.net,
        Surgery(
            widths={
                linear[0]: Widths(
                    shapes={"weight": (units, None), "bias": (units,)},
                    counts={"out_features": units},
                ),
                linear[1]: Widths(
                    shapes={"weight": (None, units)}, counts={"in_features": units}
                ),
            }
        ),
    )
    with torch.no_grad():
        first.weight = nn.Parameter(first.weight[:units])
        first.bias = nn.Parameter(first.bias[:units])
        second.weight = nn.Parameter(second.weight[:, :units])
    first.out_features = second.in_features = units

    made = tiny.made(stage(energy=0.9), pruned, dataset, tiny.context(tmp_path))

    assert linear[0] in made.surgery.factorised
    save_model(made, tmp_path / "saved")
    again = load_model(tmp_path / "saved")
    assert torch.equal(answers(again, dataset), answers(made, dataset))


@pytest.mark.usefixtures("by_params")
def test_ranks_are_chosen_once_and_then_trained(
    tiny: ModuleType,
    tmp_path: Path,
    lenet: Model,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stage that was interrupted in training does not measure again."""
    context = tiny.context(tmp_path)
    made = tiny.made(stage(energy=0.9, epochs=1), lenet, dataset, context)
    monkeypatch.setattr(factorizing, "split", None)
    again = tiny.made(stage(energy=0.9, epochs=1), lenet, dataset, context)
    assert tiny.same(made.net.state_dict(), again.net.state_dict())


@pytest.mark.usefixtures("by_params")
def test_a_latency_budget_is_one_of_the_whole_network(
    tiny: ModuleType,
    tmp_path: Path,
    lenet: Model,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the invented clock, where every weight counts, three quarters of it."""
    total = count_params(lenet.net) / 1000
    monkeypatch.setattr(factorizing, "latencies_ms", lambda _, **__: (total,))
    result = carry_out(stage(latency=0.75), lenet, dataset, tiny.context(tmp_path))
    left = count_params(result.model.net) / 1000
    assert left <= 0.75 * total
    target = result.latency
    assert target is not None
    assert target.share == 0.75
    assert target.whole_ms == total
    assert target.predicted_ms == pytest.approx(left)
    assert result.findings is not None
    assert LatencyTarget.read(result.findings.record, stage=target.stage) == target


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "give either an energy"),
        ({"energy": 0.5, "latency": 0.5}, "give either an energy"),
        ({"energy": 1.5}, "less than 1"),
        ({"latency": 0.0}, "greater than 0"),
    ],
)
def test_what_no_recipe_may_say(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        stage(**fields)


def test_a_layer_that_does_not_exist(
    tiny: ModuleType, tmp_path: Path, lenet: Model, dataset: Dataset
) -> None:
    options = stage(energy=0.5, layers=("nowhere",))
    with pytest.raises(RecipeError, match="layers: 'nowhere' is, or holds, no layer"):
        tiny.made(options, lenet, dataset, tiny.context(tmp_path))


def test_no_images_to_fit_to(tiny: ModuleType, tmp_path: Path, lenet: Model) -> None:
    empty = tiny.Opened(replace(tiny.data(size=32), train=None))
    with pytest.raises(InputRejectedError, match="calibration: colors has no training"):
        tiny.made(stage(energy=0.5), lenet, empty, tiny.context(tmp_path))


def test_several_processes_are_refused(
    tiny: ModuleType,
    tmp_path: Path,
    lenet: Model,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="would disturb each other's timing"):
        tiny.made(stage(energy=0.5), lenet, dataset, tiny.context(tmp_path))
