"""Sparse learning: channels that will be cut fade, and the answers stay."""

import copy
import json
import signal
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from compress.context.console import Console
from compress.context.context import RunContext
from compress.evaluation.costs import accuracy
from compress.models.build import build
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.pruning.cutting import silenced
from compress.pruning.graph import groups_of
from compress.pruning.group import Group
from compress.pruning.lasso import sparse_penalty
from compress.recipe.prune import Prune
from compress.training.fit import Loss, fit
from runtime.errors import InterruptedRunError

SIZE = 8


class Block(nn.Module):
    """Two convolutions around a sum, norms, and a free scale for every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.body = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.scale = nn.Parameter(torch.rand(16, 1, 1))
        self.head = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.bn(self.stem(images)).relu()
        maps = maps + self.scale * self.body(maps)
        return self.head(maps.mean((2, 3)))


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Block().eval()


def groups(net: nn.Module) -> list[Group]:
    return groups_of(net, size=SIZE, name="net")


def squares(net: nn.Module) -> float:
    """The sum over all parameters."""
    return sum(float(p.detach().double().square().sum()) for p in net.parameters())


def test_a_unit_is_all_that_goes_with_it(net: nn.Module) -> None:
    """The oracle: what a network lacks, squared and counted, when it is silenced."""
    found = groups(net)
    ones = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in ones.parameters():
            parameter.fill_(1.0)
    expected = 0.0
    for index, group in enumerate(found):
        for unit in range(group.units):
            lost, count = (
                squares(each) - squares(silenced(each, found, {index: [unit]}))
                for each in (net, ones)
            )
            expected += (count * lost) ** 0.5

    penalty = sparse_penalty(net, found, strength=0.5, scales=False)

    assert float(penalty(net).detach()) == pytest.approx(0.5 * expected, rel=1e-4)


def test_scales_alone_are_a_sum_of_magnitudes(net: nn.Module) -> None:
    """Liu et al. 2017; their gradient is a sign, and nothing else has any."""
    with torch.no_grad():
        net.bn.weight.normal_()  # type: ignore[union-attr, operator]
    penalty = sparse_penalty(net, groups(net), strength=0.25, scales=True)

    value = penalty(net)
    value.backward()

    scales = net.get_parameter("bn.weight")
    assert float(value.detach()) == pytest.approx(
        0.25 * float(scales.detach().abs().sum())
    )
    assert scales.grad is not None
    torch.testing.assert_close(scales.grad, 0.25 * scales.detach().sign())
    others = (p for name, p in net.named_parameters() if name != "bn.weight")
    assert not any(p.grad is not None and p.grad.any() for p in others)


def test_a_unit_of_zeros_has_no_slope(net: nn.Module) -> None:
    """The norm has no gradient there; one that is no number would spread."""
    found = groups(net)
    dead = silenced(net, found, {0: [0, 3]})
    sparse_penalty(dead, found, strength=1.0, scales=False)(dead).backward()
    slopes = {n: p.grad for n, p in dead.named_parameters() if p.grad is not None}
    assert "head.bias" not in slopes
    assert len(slopes) == 8
    assert all(slope.isfinite().all() for slope in slopes.values())


@pytest.mark.parametrize("scales", [False, True])
def test_what_is_cut_has_faded_before(
    tiny: ModuleType, tmp_path: Path, net: nn.Module, *, scales: bool
) -> None:
    """Against the same epochs without a penalty; the answers are as right as there."""
    data, whole = tiny.data(train=48, val=24), tiny.model(net, size=SIZE)
    epochs = 24 if scales else 12  # one number of a channel has fewer slopes
    options = tiny.options(epochs=epochs, optimizer="sgd", weight_decay=0.0)
    measured = sparse_penalty(net, groups(net), strength=1.0, scales=scales)
    weakest, right = {}, {}
    for strength in (0.0, 0.02):
        context = tiny.context(tmp_path / str(strength))
        penalty = sparse_penalty(net, groups(net), strength=strength, scales=scales)
        made = fit(whole, data, tiny.cross_entropy, options, context, penalty=penalty)
        norms = measured.norms(made.net)[0].sort().values
        weakest[strength] = float(norms[:8].sum() / norms.sum())
        right[strength] = accuracy(made, data.val).top1

    assert weakest[0.02] < 0.5 * weakest[0.0]
    assert right[0.02] >= right[0.0] - 0.05
    assert right[0.0] > 0.9


def test_a_penalized_training_that_was_stopped_goes_on_to_the_same_bits(
    tiny: ModuleType, tmp_path: Path, net: nn.Module
) -> None:
    data, whole, options = tiny.data(), tiny.model(net, size=SIZE), tiny.options()
    penalty = sparse_penalty(net, groups(net), strength=0.01, scales=False)
    parts = tiny.context(tmp_path / "parts")

    def trained(context: RunContext, loss: Loss) -> dict[str, Tensor]:
        made = fit(whole, data, loss, options, context, penalty=penalty)
        return dict(made.net.state_dict())

    with pytest.raises(InterruptedRunError):
        trained(parts, tiny.interrupting(signal.SIGINT, at=4))
    resumed = trained(parts, tiny.cross_entropy)

    assert tiny.same(
        resumed, trained(tiny.context(tmp_path / "one"), tiny.cross_entropy)
    )


def test_a_stage_goes_on_with_what_it_has_made(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fading, cuts and steps are done once; only the last training is taken up."""
    lenet = build(
        ModelSpec(name="lenet5"),
        classes=tiny.CLASSES,
        native_size=32,
        size=32,
        seed=0,
        console=Console(verbosity="quiet"),
    )
    catalog, context = tiny.Opened(tiny.data(train=16, size=32)), tiny.context(tmp_path)
    given = {"ratio": 0.5, "steps": 2, "sparse_epochs": 1, "epochs": 1, "round_to": 1}
    cheap = {"batch_size": 8, "calib_images": 8, "augment": "none"}
    stage, titles = Prune.model_validate(given | cheap), []

    def watched(*args: object, **options: object) -> Model:
        titles.append(args[4].title)  # type: ignore[attr-defined]
        return fit(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("compress.pruning.iterative.fit", watched)
    made = stage(lenet, catalog, context)  # type: ignore[arg-type]
    first = (tmp_path / "pruning.json").read_bytes()
    again = stage(lenet, catalog, context)  # type: ignore[arg-type]

    assert titles == ["sparse", "step", "train", "train"]
    assert tiny.same(made.net.state_dict(), again.net.state_dict())
    assert (tmp_path / "pruning.json").read_bytes() == first
    record = json.loads(first)
    assert [len(record[key]) for key in ("steps", "macs", "groups")] == [2, 2, 4]
    assert record["groups"][0]["before"] == 6
    assert record["macs"][1] == record["steps"][1]["macs"]
