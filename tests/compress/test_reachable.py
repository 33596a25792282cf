"""What no run can meet is refused before any training, and nothing else is."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from compress.checked import keys_of, record_from
from compress.cli import main
from compress.exports import wanted, write
from compress.models.build import build
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.pruning.budget import Ranking, allowed_units, pools_of
from compress.pruning.floor import may_be_cut
from compress.pruning.layout import Layout, asked_for
from compress.reachable import check_reachable, check_timed, weights_left
from compress.recipe import Export, Recipe
from compress.screen import Screen
from compress.stages.prune import Prune
from runtime.errors import EdgepressError, Exit, RecipeError
from runtime.machine import this_machine

NET = "resnet20"
QUIET = Screen(verbosity="quiet")


@pytest.fixture(scope="module")
def model() -> Model:
    """A small residual network for 32x32 images."""
    return build(
        ModelSpec(name=NET),
        classes=tuple("abcd"),
        native_size=32,
        size=None,
        seed=0,
        screen=QUIET,
    )


def recipe(*stages: dict[str, object], **fields: object) -> Recipe:
    """A recipe of that network."""
    record = {"name": "r", "model": NET, "stages": list(stages), **fields}
    return record_from(Recipe, record, keys_of("r.yaml"))


@pytest.mark.parametrize("budget", ["macs", "params"])
@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.15, 0.3, 0.9])
def test_a_cut_is_refused_if_and_only_if_the_search_cannot_make_it(
    budget: str, share: float, model: Model
) -> None:
    """The search itself, given scores, is the oracle."""
    options = Prune(**{budget: share})  # type: ignore[arg-type]
    size = model.preprocess.size
    groups, _ = may_be_cut(model.net, options, size=size, name=NET)
    layout = Layout(model.net, groups, size=size)
    ranking = Ranking(
        scores=[torch.arange(1.0, group.units + 1) for group in groups],
        pools=pools_of(model.net, groups, "isomorphic"),
        allowed=[allowed_units(group, round_to=8) for group in groups],
    )
    cost, most, unit = asked_for(options, model.net, layout, size=size)
    searched = refusal(lambda: ranking.within(cost, most, unit=unit))

    told = refusal(lambda: check_reachable(recipe({"prune": {budget: share}}), model))

    assert told == searched


def refusal(work: Callable[[], object]) -> str | None:
    """The sentence that `work` ends in, if it does."""
    try:
        work()
    except RecipeError as error:
        return str(error)
    return None


def test_a_count_is_the_share_that_it_is(model: Model) -> None:
    size = model.preprocess.size
    layout = Layout(model.net, (), size=size)
    by_share = asked_for(Prune(params=0.5), model.net, layout, size=size)
    whole = by_share[1] / 0.5
    by_count = asked_for(Prune(params=whole / 2), model.net, layout, size=size)
    assert by_count[1] == by_share[1]


@pytest.mark.parametrize(
    "stages",
    [
        ({"prune": {"params": 0.03, "steps": 3, "round_to": 1}},),  # ever less is left
        ({"prune": {"params": 0.02, "blocks": 1}},),
        ({"factorize": {"energy": 0.5}}, {"prune": {"params": 0.02}}),
        ({"prune": {"ratio": 0.5}}, {"prune": {"params": 0.02}}),
    ],
)
def test_what_stages_leave_open_is_not_refused(
    stages: tuple[dict[str, object], ...], model: Model
) -> None:
    check_reachable(recipe(*stages, budget={"size_bytes": 26_000}), model)


class Idle(nn.Module):
    """A large layer that the answer does not need, and one that serves twice."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(1000, 1000)
        self.shared = nn.Linear(3, 3, bias=False)
        self.again = nn.Linear(3, 3, bias=False)
        self.again.weight = self.shared.weight

    def forward(self, images: Tensor) -> Tensor:
        means = images.mean((2, 3))
        self.idle(means.new_ones(1, 1000))
        logits: Tensor = self.again(self.shared(means))
        return logits


def test_only_weights_that_a_file_needs_are_counted(tiny: ModuleType) -> None:
    assert weights_left(tiny.model(Idle()), None) == 9


class Looking(nn.Module):
    """A net whose layers depend on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        means = images.mean((2, 3))
        logits: Tensor = self.head(means) if means.sum() > 0 else means
        return logits


class Blind(nn.Module):
    """A net whose answer has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self.head(images.mean((2, 3)))
        return logits


@pytest.mark.parametrize("kind", [Looking, Blind])
def test_of_a_network_that_cannot_be_looked_into_nothing_is_said(
    kind: type[nn.Module], tiny: ModuleType
) -> None:
    check_reachable(recipe(budget={"size_bytes": 1}), tiny.model(kind()))
    with pytest.raises(RecipeError, match="cannot be met"):
        check_reachable(recipe(budget={"size_bytes": 1}), tiny.model())


def files(model: Model, folder: Path) -> Iterator[int]:
    """The sizes of the files that are written of a float model."""
    export = Export(to=("onnx",))
    for each in wanted("model", model, export):
        yield write(each, folder, export=export, recipe="0" * 64).size_bytes


def test_no_file_is_smaller_than_what_is_called_the_least(
    model: Model, tmp_path: Path
) -> None:
    """And the bound says something: it is most of the file."""
    (size,) = files(model, tmp_path)
    assert 0.8 * size < 4 * weights_left(model, None) < size
    check_reachable(recipe(budget={"size_bytes": size}), model)
    least = 4 * weights_left(model, None)
    check_reachable(recipe(budget={"size_bytes": least}), model)
    with pytest.raises(RecipeError, match=f"alone are {least:,} bytes in float32; all"):
        check_reachable(recipe(budget={"size_bytes": least - 1}), model)


def test_quantising_and_cutting_lower_the_least(model: Model) -> None:
    count = weights_left(model, None)
    limit = {"size_bytes": count}
    check_reachable(recipe({"ptq": {}}, budget=limit), model)
    check_reachable(recipe({"prune": {"ratio": 0.9}}, budget=limit), model)
    with pytest.raises(RecipeError, match="bytes in float32; allow more"):
        check_reachable(recipe({"finetune": {}}, budget=limit), model)
    limit = {"size_bytes": count - 1}
    with pytest.raises(RecipeError, match="bytes in int8; allow more"):
        check_reachable(recipe({"qat": {}}, budget=limit), model)
    with pytest.raises(RecipeError, match="with every layer cut to its least width"):
        check_reachable(
            recipe({"prune": {"ratio": 0.9}}, budget={"size_bytes": 9}), model
        )


TENTH = {"factorize": {"latency": 0.1}}


@pytest.mark.skipif(
    this_machine().arch != "x86_64", reason="refuses targets that this machine is not"
)
@pytest.mark.parametrize(
    ("stage", "export", "sentence"),
    [
        (
            {"prune": {"latency": 0.5, "target": "rpi4"}},
            {},
            "prune: target 'rpi4' .* no",
        ),
        (TENTH, {"target": ["generic-arm64"]}, "factorize: .* --energy 0.9$"),
        (TENTH, {"target": ["rpi5"], "device": "pi5"}, r"found rpi5 \(litert"),
        (
            TENTH,
            {"target": ["jetson-orin"], "device": "orin"},
            r"found jetson-orin",
        ),
        (TENTH, {"target": ["x86-avx2", "x86-vnni"]}, "for one target"),
    ],
)
def test_a_latency_on_a_device_that_nobody_can_ask_is_refused(
    stage: dict[str, object], export: dict[str, object], sentence: str
) -> None:
    """However long the training before it would take."""
    asked = recipe({"finetune": {}}, stage, export=export)
    with pytest.raises(EdgepressError, match=sentence):
        check_timed(asked)


def test_a_latency_that_a_device_can_be_asked_for_is_not_refused() -> None:
    """Nor one that is not asked for, such as where energy decides about ranks."""
    check_timed(recipe(TENTH))
    check_timed(recipe(TENTH, export={"device": "pi5"}))
    there = {"target": ["generic-arm64"], "device": "pi5"}
    check_timed(recipe(TENTH, export=there))
    check_timed(recipe({"factorize": {"energy": 0.9}}, export={"target": ["rpi5"]}))
    check_timed(recipe({"prune": {"macs": 0.5, "target": "rpi4"}}))


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(
    ("stages", "budget", "sentence"),
    [
        (
            "[{finetune: {}}, {prune: {macs: 1%}}]",
            "{}",
            "prune: a budget of .* MACs cannot be met: the closest that can be reached",
        ),
        (
            "[{finetune: {}}, {prune: {params: 1k}}]",
            "{}",
            "prune: a budget of 1,000 parameters cannot be met",
        ),
        (
            "[{finetune: {}}, {sparsify: {sparsity: 50%}}, {prune: {size_mb: 1kB}}]",
            "{}",
            "prune: a budget of 1,000 bytes cannot be met",
        ),
        (
            "[{distill: {teacher: resnet20}}, {ptq: {}}]",
            "{size_bytes: 10kB}",
            r"budget.size_bytes: 10,000 bytes cannot be met: the weights of ",
        ),
    ],
)
def test_it_is_refused_before_anything_is_trained(  # noqa: PLR0913, PLR0917  # fixtures
    stages: str,
    budget: str,
    sentence: str,
    tmp_path: Path,
    draw_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not an image is decoded for it."""

    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("images were decoded")

    monkeypatch.setattr("compress.data.catalogue.open_images", decoded)
    data = draw_folder(tmp_path / "data")
    path = tmp_path / "r.yaml"
    path.write_text(
        f"name: r\nmodel: {NET}\ndata: 'folder:{data}'\nstages: {stages}\n"
        f"budget: {budget}\n"
    )
    assert main(["run", str(path), "-q", "--out", str(tmp_path / "out")]) == Exit.USAGE
    told = capsys.readouterr().err
    assert re.search(sentence, told), told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()
