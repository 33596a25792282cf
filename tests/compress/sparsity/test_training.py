"""Zeros in training: they come when they should, and none ever goes away again."""

import signal
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from compress.models.model import Model
from compress.models.surgery.record import Surgery
from compress.sparsity.goal import Goal, SparsitySchedule, zeros_in
from compress.sparsity.masks import apply_, masks_of
from compress.sparsity.schedule import cubic
from compress.training.fit import fit
from compress.training.learner import Learner
from runtime.errors import InterruptedRunError

NAMES = ("0.weight", "6.weight")
GOAL = Goal(names=NAMES, sparsity=0.5)


def masked(tiny: ModuleType) -> Model:
    """The tiny network, half of its weights zero, and a record that says so."""
    net = tiny.net()
    apply_(net, GOAL.masks(net, 0.5))
    surgery = Surgery(masked=dict.fromkeys(NAMES, GOAL.pattern))
    model: Model = tiny.model().operated(net, surgery)
    return model


def zeros(net: nn.Module) -> int:
    return zeros_in(net.get_parameter(name) for name in NAMES)


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "sgd", "weight_decay": 0.1},
        {"optimizer": "adamw", "ema": 0.9, "patience": 3},
        {"optimizer": "sgd", "init": "he"},
        {"optimizer": "sgd", "precision": "bf16", "clip_norm": 0.5},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_the_zeros_of_a_masked_model_stay(
    tiny: ModuleType, tmp_path: Path, fields: dict[str, object]
) -> None:
    """The same places are zero before and after; everything else has moved."""
    model = masked(tiny)
    before = masks_of(model.net, NAMES)

    made = fit(
        model,
        tiny.data(val=6),
        tiny.cross_entropy,
        tiny.options(**fields),
        tiny.context(tmp_path),
    )

    after = masks_of(made.net, NAMES)
    assert all(torch.equal(before[name], after[name]) for name in NAMES)
    for name in NAMES:
        old, new = model.net.get_parameter(name), made.net.get_parameter(name)
        assert (old != new)[before[name]].all()


def test_without_a_record_zeros_are_weights_like_any_other(
    tiny: ModuleType, tmp_path: Path
) -> None:
    model = replace(masked(tiny), spec=tiny.model().spec)
    made = fit(
        model, tiny.data(), tiny.cross_entropy, tiny.options(), tiny.context(tmp_path)
    )
    assert zeros(made.net) == 0


def test_zeros_come_at_the_pace_of_the_cubic_schedule(
    tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve steps, the last zeros after half of them; counted before each step."""
    model = tiny.model().operated(
        tiny.net(), Surgery(masked=dict.fromkeys(NAMES, GOAL.pattern))
    )
    total = sum(model.net.get_parameter(name).numel() for name in NAMES)
    seen: list[int] = []
    step = Learner.step

    def counting(self: Learner, *given: object, **named: object) -> float:
        seen.append(zeros(self.bare))
        return step(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "step", counting)
    made = fit(
        model,
        tiny.data(),
        tiny.cross_entropy,
        tiny.options(epochs=4),
        tiny.context(tmp_path),
        thinning=SparsitySchedule(goal=GOAL, until=0.5),
    )

    expected = [round(cubic(step / 12 / 0.5, 0.5) * total) for step in range(12)]
    assert seen == pytest.approx(expected, abs=1)
    assert zeros(made.net) == round(0.5 * total)
    assert zeros(model.net) == 0


@pytest.mark.parametrize("at", [4, 8])
def test_a_thinning_that_was_stopped_goes_on_to_the_same_bits(
    tiny: ModuleType, tmp_path: Path, at: int
) -> None:
    """Stopped while weights go, and after the last has gone."""
    model = tiny.model().operated(
        tiny.net(), Surgery(masked=dict.fromkeys(NAMES, GOAL.pattern))
    )
    options = tiny.options(epochs=4, ema=0.5)
    thinning = SparsitySchedule(goal=GOAL, until=0.5)
    folders = tiny.context(tmp_path / "whole"), tiny.context(tmp_path / "parts")
    data, loss = tiny.data(), tiny.cross_entropy
    whole = fit(model, data, loss, options, folders[0], thinning=thinning)
    with pytest.raises(InterruptedRunError):
        fit(
            model,
            data,
            tiny.interrupting(signal.SIGINT, at=at),
            options,
            folders[1],
            thinning=thinning,
        )

    resumed = fit(model, data, loss, options, folders[1], thinning=thinning)

    assert tiny.same(resumed.net.state_dict(), whole.net.state_dict())
    assert zeros(resumed.net) == round(
        0.5 * sum(m.numel() for m in (resumed.net[0].weight, resumed.net[6].weight))
    )


@pytest.mark.parametrize("of", [4, 8])
def test_a_pattern_comes_group_by_group(of: int) -> None:
    """On the way every group has the same number of zeros; in the end half."""
    net = nn.Sequential(nn.Linear(16, 5))
    goal = Goal(names=("0.weight",), sparsity=0.5, of=of)
    thinning = SparsitySchedule(goal=goal, until=1.0)
    found = []
    for share in (0.0, 0.05, 0.2, 0.5, 1.0):
        thinning.reach_(net, share)
        per_group = (net[0].weight.view(5, -1, of) == 0).sum(dim=2)
        assert per_group.min() == per_group.max()
        found.append(int(per_group.max()))
    assert found == [round(cubic(share, 0.5) * of) for share in (0, 0.05, 0.2, 0.5, 1)]
    assert goal.pattern == f"{of // 2}:{of}"
