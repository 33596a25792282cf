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
from compress.data.dataset import Catalog
from compress.evaluation.costs import count_params
from compress.lowrank import factorization as factorizing
from compress.lowrank.record import RECORD
from compress.models.build import build
from compress.models.checkpoint import load_model, save_model
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.models.surgery.record import Surgery, Widths
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
def catalog(tiny: ModuleType) -> Catalog:
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


def answers(model: Model, data: Catalog) -> Tensor:
    """What a model says of the training images."""
    assert data.train is not None
    pixels = torch.from_numpy(data.train.pixels).permute(0, 3, 1, 2)
    with torch.inference_mode():
        found: Tensor = model.net.eval()(model.prepare(pixels))
    return found


@pytest.mark.usefixtures("by_params")
def test_what_was_split_answers_alike_and_loads_bit_equal(
    tiny: ModuleType, tmp_path: Path, lenet: Model, catalog: Catalog
) -> None:
    """Fewer parameters, from a folder that needs no images and no search."""
    context = tiny.context(tmp_path)
    before = {name: value.clone() for name, value in lenet.net.state_dict().items()}

    made = stage(energy=0.8)(lenet, catalog, context)  # type: ignore[arg-type]

    assert tiny.same(lenet.net.state_dict(), before)
    assert count_params(made.net) < 0.9 * count_params(lenet.net)
    # An equal amount in all scores says nothing.
    expected, found = (
        each - each.mean(dim=1, keepdim=True)
        for each in (answers(lenet, catalog), answers(made, catalog))
    )
    assert (found - expected).norm() / expected.norm() < 0.05
    save_model(made, tmp_path / "saved")
    again = load_model(tmp_path / "saved")
    assert again.surgery == made.surgery
    assert torch.equal(answers(again, catalog), answers(made, catalog))
    found = json.loads((tmp_path / RECORD).read_text(encoding="utf-8"))["layers"]
    ranks = {each["name"]: each["ranks"] for each in found if each["ranks"]}
    assert ranks == {
        name: list(how.ranks) for name, how in made.surgery.factorised.items()
    }
    assert len(found) == 5


@pytest.mark.usefixtures("by_params")
def test_only_the_named_layers_are_split(
    tiny: ModuleType, tmp_path: Path, lenet: Model, catalog: Catalog
) -> None:
    name = next(n for n, m in lenet.net.named_modules() if isinstance(m, nn.Linear))
    made = stage(energy=0.5, layers=(name,))(lenet, catalog, tiny.context(tmp_path))  # type: ignore[arg-type]
    assert set(made.surgery.factorised) == {name}
    assert made.surgery.factorised[name].kind == "linear"


@pytest.mark.usefixtures("by_params")
def test_the_factors_of_an_earlier_stage_are_not_split_again(
    tiny: ModuleType, tmp_path: Path, lenet: Model, catalog: Catalog
) -> None:
    once = stage(energy=0.9)(lenet, catalog, tiny.context(tmp_path / "1"))  # type: ignore[arg-type]
    twice = stage(energy=0.5)(once, catalog, tiny.context(tmp_path / "2"))  # type: ignore[arg-type]
    assert set(once.surgery.factorised) <= set(twice.surgery.factorised)
    assert not any(".0" in name[-2:] for name in twice.surgery.factorised)


@pytest.mark.usefixtures("by_params")
def test_masks_of_layers_that_are_gone_are_forgotten(
    tiny: ModuleType, tmp_path: Path, lenet: Model, catalog: Catalog
) -> None:
    names = [
        f"{n}.weight" for n, m in lenet.net.named_modules() if hasattr(m, "weight")
    ]
    masked = lenet.operated(
        lenet.net, Surgery(masked=dict.fromkeys(names, "unstructured"))
    )
    made = stage(energy=0.5)(masked, catalog, tiny.context(tmp_path))  # type: ignore[arg-type]
    split = {f"{name}.weight" for name in made.surgery.factorised}
    assert split
    assert made.surgery.masked.keys() == set(names) - split


@pytest.mark.usefixtures("by_params")
def test_a_pruned_network_keeps_its_widths(
    tiny: ModuleType, tmp_path: Path, lenet: Model, catalog: Catalog
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

    made = stage(energy=0.9)(pruned, catalog, tiny.context(tmp_path))  # type: ignore[arg-type]

    assert linear[0] in made.surgery.factorised
    save_model(made, tmp_path / "saved")
    again = load_model(tmp_path / "saved")
    assert torch.equal(answers(again, catalog), answers(made, catalog))


@pytest.mark.usefixtures("by_params")
def test_ranks_are_chosen_once_and_then_trained(
    tiny: ModuleType,
    tmp_path: Path,
    lenet: Model,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stage that was interrupted in training does not measure again."""
    context = tiny.context(tmp_path)
    made = stage(energy=0.9, epochs=1)(lenet, catalog, context)  # type: ignore[arg-type]
    monkeypatch.setattr(factorizing, "split", None)
    again = stage(energy=0.9, epochs=1)(lenet, catalog, context)  # type: ignore[arg-type]
    assert tiny.same(made.net.state_dict(), again.net.state_dict())


@pytest.mark.usefixtures("by_params")
def test_a_latency_budget_is_one_of_the_whole_network(
    tiny: ModuleType,
    tmp_path: Path,
    lenet: Model,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the invented clock, where every weight counts, three quarters of it."""
    total = count_params(lenet.net) / 1000
    monkeypatch.setattr(factorizing, "latencies_ms", lambda _, **__: (total,))
    made = stage(latency=0.75)(lenet, catalog, tiny.context(tmp_path))  # type: ignore[arg-type]
    left = count_params(made.net) / 1000
    assert left <= 0.75 * total
    promised = json.loads((tmp_path / RECORD).read_text(encoding="utf-8"))["latency"]
    assert promised["share"] == 0.75
    assert promised["whole_ms"] == total
    assert promised["predicted_ms"] == pytest.approx(left)


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
    tiny: ModuleType, tmp_path: Path, lenet: Model, catalog: Catalog
) -> None:
    with pytest.raises(RecipeError, match="layers: 'nowhere' is, or holds, no layer"):
        stage(energy=0.5, layers=("nowhere",))(lenet, catalog, tiny.context(tmp_path))  # type: ignore[arg-type]


def test_no_images_to_fit_to(tiny: ModuleType, tmp_path: Path, lenet: Model) -> None:
    empty = tiny.Opened(replace(tiny.data(size=32), train=None))
    with pytest.raises(InputRejectedError, match="calibration: colors has no training"):
        stage(energy=0.5)(lenet, empty, tiny.context(tmp_path))  # type: ignore[arg-type]


def test_several_processes_are_refused(
    tiny: ModuleType,
    tmp_path: Path,
    lenet: Model,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="would disturb each other's timing"):
        stage(energy=0.5)(lenet, catalog, tiny.context(tmp_path))  # type: ignore[arg-type]
