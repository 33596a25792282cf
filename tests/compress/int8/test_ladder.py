"""The doctor's ladder, with a judge that is told what to say."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.simulate import QuantizedNet
from compress.quantization.accuracy_recovery import (
    REMEDIES,
    TRAINED,
    Limits,
    recover_accuracy,
)
from compress.quantization.evaluator import AccuracyReport, Evaluator, evaluator_of
from compress.quantization.ptq import Methods
from runtime.errors import InputRejectedError

PLAIN = Methods(ranges="minmax", equalize=False)


@pytest.fixture
def graph() -> fx.GraphModule:
    """A small convolutional network of 8x8 images."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    made = captured(net.eval(), size=8, name="small")
    canonical_(made)
    return made


def shown() -> list[Tensor]:
    """Calibration images."""
    return [torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))]


class Told:
    """A judge that finds these losses, one after the other."""

    def __init__(self, *losses: float | tuple[float | None, float]) -> None:
        """Each of right answers, None where labels do not fit, and of any, or both."""
        self.losses = list(losses)
        self.float32 = AccuracyReport(
            accuracy=1.0, agreement=1.0, sqnr_db=150.0, images=100
        )

    def __call__(self, net: nn.Module) -> AccuracyReport:
        """The next verdict."""
        assert isinstance(net, QuantizedNet)
        loss = self.losses.pop(0)
        drop, flips = loss if isinstance(loss, tuple) else (loss, loss)
        right = None if drop is None else 1 - drop
        return AccuracyReport(
            accuracy=right, agreement=1 - flips, sqnr_db=20.0, images=100
        )


def climbed(graph: fx.GraphModule, *drops: float, **more: object) -> object:
    """The ladder's result for these verdicts."""
    judge: Evaluator = Told(*drops)  # type: ignore[assignment]
    limits = Limits(accuracy_drop=0.01)
    return recover_accuracy(graph, shown, judge, limits=limits, methods=PLAIN, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("rung", range(len(REMEDIES)))
def test_the_ladder_ends_at_the_first_rung_that_holds(
    graph: fx.GraphModule, rung: int
) -> None:
    healed = climbed(graph, *[0.05] * rung, 0.01, 0.0, 0.0)

    assert healed.holds  # type: ignore[attr-defined]
    names = [each.name for each in healed.rungs]  # type: ignore[attr-defined]
    assert names == [name for name, _ in REMEDIES[: rung + 1]]
    assert [each.holds for each in healed.rungs] == [False] * rung + [True]  # type: ignore[attr-defined]


def test_then_the_most_harmful_operators_go_back_to_float(
    graph: fx.GraphModule,
) -> None:
    healed = climbed(graph, *[0.05] * len(REMEDIES), 0.03, 0.0)

    last = healed.rungs[-1]  # type: ignore[attr-defined]
    assert last.name == "2 in float"
    assert len(last.left_float) == 2
    assert set(last.left_float) == set(last.blames[:2])


def test_training_comes_last_and_the_best_rung_is_kept(graph: fx.GraphModule) -> None:
    """Where nothing holds, the network that loses least is given."""
    trained: list[QuantizedNet] = []

    def train(net: QuantizedNet) -> QuantizedNet:
        trained.append(net)
        return net

    drops = [0.05, 0.02, *[0.05] * (len(REMEDIES) - 2), *[0.05] * 4, 0.04]
    healed = climbed(graph, *drops, train=train)

    assert not healed.holds  # type: ignore[attr-defined]
    assert len(trained) == 1
    assert healed.rungs[-1].name == TRAINED  # type: ignore[attr-defined]
    assert all(each.as_record()["drop"] for each in healed.rungs)  # type: ignore[attr-defined]


def test_a_rung_that_makes_things_worse_is_not_built_upon(
    graph: fx.GraphModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equalization lost more, so what follows goes on without it."""
    asked: list[Methods] = []

    def quantized(
        graph: fx.GraphModule, images: Callable[[], object], **more: object
    ) -> QuantizedNet:
        from compress.quantization.ptq import quantized as real

        asked.append(more["methods"])  # type: ignore[arg-type]
        return real(graph, images, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("compress.quantization.accuracy_recovery.quantized", quantized)

    climbed(graph, 0.05, 0.04, 0.08, 0.03, 0.0)

    assert [each.equalize for each in asked] == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("limits", "rungs"),
    [
        (Limits(accuracy_drop=0.01), 1),
        (Limits(flips=0.02), 2),
        (Limits(accuracy_drop=0.01, flips=0.02), 3),
    ],
)
def test_a_rung_holds_when_every_limit_holds(
    graph: fx.GraphModule, limits: Limits, rungs: int
) -> None:
    """Top-1 holds at once though answers change; then flips, then both."""
    judge = Told((0.0, 0.05), (0.03, 0.02), (0.01, 0.01))

    healed = recover_accuracy(graph, shown, judge, limits=limits, methods=PLAIN)  # type: ignore[arg-type]

    assert healed.holds
    assert len(healed.rungs) == rungs
    last = healed.rungs[-1].as_record()
    assert {"drop", "flips", "accuracy"} <= last.keys()


def test_without_labels_that_fit_flips_are_all_there_is(graph: fx.GraphModule) -> None:
    """Then a drop of accuracy is one of agreement, and both limits judge the same."""
    limits = Limits(accuracy_drop=0.04, flips=0.02)
    judge = Told((None, 0.03), (None, 0.02))

    healed = recover_accuracy(graph, shown, judge, limits=limits, methods=PLAIN)  # type: ignore[arg-type]

    assert [each.drop for each in healed.rungs] == pytest.approx([0.03, 0.02])
    assert [each.holds for each in healed.rungs] == [False, True]


def test_where_no_rung_holds_the_closest_to_all_limits_is_kept(
    graph: fx.GraphModule,
) -> None:
    """The second loses least of right answers, the third misses its limits least."""
    losses = [(0.05, 0.05), (0.0, 0.09), (0.02, 0.03), *[(0.05, 0.05)] * 6]
    limits = Limits(accuracy_drop=0.01, flips=0.01)

    healed = recover_accuracy(graph, shown, Told(*losses), limits=limits, methods=PLAIN)  # type: ignore[arg-type]

    assert not healed.holds
    assert healed.rungs[2].name == "equalization"
    assert healed.net.graph is not graph  # equalized, unlike the first two


def test_a_judge_counts_flips_and_right_answers() -> None:
    """Of four images one answer changes, from a wrong one to the right one."""
    logits = torch.eye(4)
    other = logits.clone()
    other[3] = torch.tensor([9.0, 0.0, 0.0, 0.0])

    class Answers(nn.Module):
        def __init__(self, answers: Tensor) -> None:
            super().__init__()
            self.answers = answers

        def forward(self, images: Tensor) -> Tensor:
            return self.answers[: len(images)]

    def pairs() -> list[tuple[Tensor, Tensor]]:
        return [(torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]))]

    judge = evaluator_of(Answers(logits), pairs, labels_fit=True)
    verdict = judge(Answers(other))

    assert judge.float32.accuracy == pytest.approx(0.75)
    assert verdict.accuracy == pytest.approx(1.0)
    assert verdict.flips == pytest.approx(0.25)
    assert verdict.drop_from(judge.float32) == pytest.approx(-0.25)


def test_no_held_out_images_is_one_sentence() -> None:
    with pytest.raises(InputRejectedError, match="no held-out images"):
        evaluator_of(nn.Identity(), list, labels_fit=True)
