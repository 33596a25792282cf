"""The training loop against bare PyTorch, closed forms, and itself."""

import copy
import math
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

from compress.data.augment import Augment
from compress.data.batches import batches
from compress.data.data import Batch, Data
from compress.training.fit import fit
from compress.training.resume import STATE
from runtime.errors import InputRejectedError, RecipeError

if TYPE_CHECKING:
    from compress.recipe.training import Training


class Seen(nn.Module):
    """A small classifier that notes the side of what it sees and the type it gives."""

    notes: list[tuple[int, torch.dtype]] = []  # noqa: RUF012  # copies of it share this

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.mean((2, 3)))
        if self.training:
            self.notes.append((images.shape[-1], logits.dtype))
        return logits


@pytest.fixture
def notes() -> list[tuple[int, torch.dtype]]:
    """What `Seen` notes, from an empty page."""
    Seen.notes.clear()
    return Seen.notes


def test_fit_is_a_bare_pytorch_loop(tiny: ModuleType, tmp_path: Path) -> None:
    """The same batches through torch.optim.SGD by hand: equal logits at each step."""
    data, model = tiny.data(), tiny.model()
    options = tiny.options(
        optimizer="sgd", weight_decay=0.1, schedule="cosine", warmup=0.5
    )
    seen: list[Tensor] = []

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        seen.append(logits.detach().clone())
        return F.cross_entropy(logits, batch.labels)

    trained = fit(model, data, loss, options, tiny.context(tmp_path, seed=3))

    bare = copy.deepcopy(model.net)
    decayed = [p for p in bare.parameters() if p.dim() > 1]
    spared = [p for p in bare.parameters() if p.dim() <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": 0.1}, {"params": spared}],
        lr=1.0,
        momentum=0.9,
        nesterov=True,
    )
    bare.train()
    # Two epochs of three steps; half of them warm up, the rest follow half a cosine.
    rates = [0.05 * part / 3 for part in (1, 2, 3)]
    rates += [0.025 * (1 + math.cos(math.pi * part / 3)) for part in range(3)]
    expected = []
    for epoch in range(2):
        for batch in batches(
            data.train,
            batch_size=8,
            seed=3,
            epoch=epoch,
            view=epoch,
            augment=Augment(crop="pad", flip=True),
            shuffle=True,
            drop_last=True,
            workers=0,
        ):
            scaled = batch.pixels / 255 - torch.tensor(tiny.MEAN).view(3, 1, 1)
            logits = bare(scaled / torch.tensor(tiny.STD).view(3, 1, 1))
            for group in optimizer.param_groups:
                group["lr"] = rates[len(expected)]
            optimizer.zero_grad()
            F.cross_entropy(logits, batch.labels).backward()
            optimizer.step()
            expected.append(logits.detach())

    assert len(seen) == 6
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-6)
    # The statistics of so few steps are estimated anew: see test_statistics.py.
    torch.testing.assert_close(
        dict(trained.net.named_parameters()),
        dict(bare.named_parameters()),
        rtol=1e-5,
        atol=1e-6,
    )


def test_fit_returns_a_new_net_in_eval_mode(tiny: ModuleType, tmp_path: Path) -> None:
    """The argument keeps weights, mode and flags; torch's chance is where it was."""
    model = tiny.model()
    model.net.train()
    model.net[0].weight.requires_grad_(False)
    before = copy.deepcopy(model.net.state_dict())
    chance = torch.get_rng_state()

    trained = tiny.Case(options=tiny.options(), data=tiny.data(), model=model)
    state = trained.trained(tiny.context(tmp_path / "a"))
    returned = fit(
        model,
        tiny.data(),
        tiny.cross_entropy,
        tiny.options(),
        tiny.context(tmp_path / "b"),
    )

    assert tiny.same(model.net.state_dict(), before)
    assert model.net.training
    assert not model.net[0].weight.requires_grad
    assert torch.equal(torch.get_rng_state(), chance)
    assert not tiny.same(state, before)
    assert not any(module.training for module in returned.net.modules())
    assert all(parameter.requires_grad for parameter in returned.net.parameters())
    assert returned.classes == model.classes


@pytest.mark.parametrize(
    "changed",
    [{"workers": 2}, {"save_seconds": 1e9}],
    ids=["workers", "saving"],
)
def test_only_the_seed_decides(
    tiny: ModuleType, tmp_path: Path, changed: dict[str, object]
) -> None:
    """How batches are made ready or how often is saved changes no bit; a seed does."""
    case = tiny.cases()["sgd"]
    once = case.trained(tiny.context(tmp_path / "one"))

    assert tiny.same(once, case.trained(tiny.context(tmp_path / "two", **changed)))
    assert not tiny.same(once, case.trained(tiny.context(tmp_path / "three", seed=1)))


def test_clipping_bounds_the_step(tiny: ModuleType, tmp_path: Path) -> None:
    """Nesterov's first step is rate * (1 + momentum) * gradient, here of norm 0.01."""
    model, data = tiny.model(), tiny.data(train=8)
    options = tiny.options(epochs=1, optimizer="sgd", weight_decay=0.0, clip_norm=0.01)

    trained = fit(model, data, tiny.cross_entropy, options, tiny.context(tmp_path))

    moved = tiny.distance(model.net.parameters(), trained.net.parameters())
    assert moved == pytest.approx(0.05 * 1.9 * 0.01, rel=1e-3)


def test_ema_averages_the_weights_of_the_steps(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """w1, then d * average + (1 - d) * w_k; w_k is what a run of k steps ends with."""
    model, data = tiny.model(), tiny.data(train=8)  # one step an epoch

    def after(steps: int, ema: float | None = None) -> dict[str, Tensor]:
        options = tiny.options(epochs=steps, ema=ema)
        made = tiny.context(tmp_path / f"{steps} {ema}")
        net = fit(model, data, tiny.cross_entropy, options, made).net
        return {name: value.detach() for name, value in net.named_parameters()}

    one, two, three = after(1), after(2), after(3)
    expected = {
        name: 0.6 * (0.6 * one[name] + 0.4 * two[name]) + 0.4 * three[name]
        for name in one
    }

    torch.testing.assert_close(after(3, ema=0.6), expected, rtol=1e-5, atol=1e-6)


def test_patience_stops_and_returns_the_best_epoch(
    tiny: ModuleType, tmp_path: Path
) -> None:
    """Where learning makes top-1 worse, the result is that of the best prefix."""
    data = tiny.data(train=24)
    misled = Data(
        name=data.name,
        classes=data.classes,
        train=data.train,
        # Images of the training set under the next class's label.
        val=type(data.train)(
            pixels=data.train.pixels,
            labels=(data.train.labels + 1) % 3,
            size=8,
            digest="misled",
        ),
    )
    model = tiny.model()
    made = tiny.context(tmp_path / "patient")

    trained = fit(
        model,
        misled,
        tiny.cross_entropy,
        tiny.options(epochs=30, patience=2),
        made,
    )

    tops = [point["top1"] for point in tiny.curve(made)]
    best = tops.index(max(tops))
    assert len(tops) == best + 3 < 30
    prefix = fit(
        model,
        data,
        tiny.cross_entropy,
        tiny.options(epochs=best + 1),
        tiny.context(tmp_path / "prefix"),
    )
    assert tiny.same(trained.net.state_dict(), prefix.net.state_dict())


def test_patience_needs_a_validation_split(tiny: ModuleType, tmp_path: Path) -> None:
    options = tiny.options(patience=1)

    with pytest.raises(RecipeError, match=r"patience: colors has no validation split"):
        fit(
            tiny.model(),
            tiny.data(),
            tiny.cross_entropy,
            options,
            tiny.context(tmp_path),
        )


def test_an_evaluation_set_cannot_be_trained_on(
    tiny: ModuleType, tmp_path: Path
) -> None:
    data = Data(name="photos", classes=tiny.CLASSES, train=None, val=tiny.images(3))

    with pytest.raises(InputRejectedError, match="photos has no training split"):
        fit(
            tiny.model(),
            data,
            tiny.cross_entropy,
            tiny.options(),
            tiny.context(tmp_path),
        )


def test_progressive_resizing_grows_on_a_grid_of_16(
    tiny: ModuleType, tmp_path: Path, notes: list[tuple[int, torch.dtype]]
) -> None:
    """From half of 64 to all after three of four epochs: 32, 43, 53, 64, rounded up."""
    data, model = tiny.data(train=8, size=64), tiny.model(Seen(), size=64)
    options = tiny.options(epochs=4, progressive=0.5)

    fit(model, data, tiny.cross_entropy, options, tiny.context(tmp_path))

    assert [side for side, _ in notes] == [32, 48, 64, 64]


def test_views_cycle_over_the_epochs(tiny: ModuleType, tmp_path: Path) -> None:
    """Epoch e of a run with two views sees view e modulo 2, and its pixels again."""
    views: list[int] = []
    pixels: dict[int, list[int]] = {}

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        views.append(batch.view)
        pixels.setdefault(batch.view, []).append(int(batch.pixels.sum()))
        return F.cross_entropy(logits, batch.labels)

    fit(
        tiny.model(),
        tiny.data(train=8),
        loss,
        tiny.options(epochs=5),
        tiny.context(tmp_path),
        views=2,
    )

    assert views == [0, 1, 0, 1, 0]
    assert {view: len(set(sums)) for view, sums in pixels.items()} == {0: 1, 1: 1}


def test_two_precisions_in_one_process(
    tiny: ModuleType, tmp_path: Path, notes: list[tuple[int, torch.dtype]]
) -> None:
    """bf16 computes in bfloat16 and stays near; float32 after it is as before it."""

    def trained(precision: str, name: str) -> dict[str, Tensor]:
        options = tiny.options(precision=precision)
        case = tiny.Case(options=options, data=tiny.data(), model=model)
        return case.trained(tiny.context(tmp_path / name))

    model = tiny.model(Seen())
    before = trained("float32", "before")
    assert {dtype for _, dtype in notes} == {torch.float32}
    notes.clear()
    half = trained("bf16", "half")
    assert {dtype for _, dtype in notes} == {torch.bfloat16}
    after = trained("float32", "after")

    assert tiny.same(before, after)
    assert not tiny.same(before, half)
    torch.testing.assert_close(half, before, rtol=0.02, atol=0.02)


def test_fp16_is_refused_on_the_cpu(tiny: ModuleType, tmp_path: Path) -> None:
    options = tiny.options(precision="fp16")

    with pytest.raises(RecipeError, match="fp16 needs a GPU; use bf16"):
        fit(
            tiny.model(),
            tiny.data(),
            tiny.cross_entropy,
            options,
            tiny.context(tmp_path),
        )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_a_sentence_and_loses_nothing(
    tiny: ModuleType, tmp_path: Path, value: float
) -> None:
    """The fifth step is the second of epoch 2; what the four before it did is kept."""
    case, made = tiny.cases()["sgd"], tiny.context(tmp_path / "broken")
    calls = 0

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        nonlocal calls
        calls += 1
        return tiny.cross_entropy(logits, batch) * (value if calls == 5 else 1.0)

    sentence = rf"became {value} at step 2 of epoch 2.*learning_rate.*clip_norm"
    with pytest.raises(RecipeError, match=sentence):
        case.trained(made, loss)

    kept = made.folder / STATE
    assert kept.is_file()
    calls = 5  # the loss is sound from here on
    resumed = case.trained(made, loss)
    assert "goes on at epoch 2, step 2" in " ".join(tiny.events(made, "tell"))
    assert tiny.same(resumed, case.trained(tiny.context(tmp_path / "whole")))


@pytest.mark.parametrize(
    "fields",
    [
        {"mixup": 0.2, "cutmix": 1.0},
        {"randaugment": 9},
        {"augment": "none"},
        {"momentum": 0.0, "optimizer": "sgd"},
        {"schedule": "one-cycle"},
        {"schedule": "step"},
        {"batch_size": 64},
    ],
    ids=str,
)
def test_every_option_trains(
    tiny: ModuleType, tmp_path: Path, fields: dict[str, object]
) -> None:
    """The loss stays finite and falls, whatever the option."""
    made = tiny.context(tmp_path)
    options: Training = tiny.options(epochs=8, **fields)

    fit(tiny.model(), tiny.data(train=48), tiny.cross_entropy, options, made)

    losses = [point["loss"] for point in tiny.curve(made)]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]
