"""Distillation against Hinton's formula, with teachers that note what happens."""

import copy
import signal
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.data.data import Data
from compress.models.model import Model
from compress.recipe.distill import Distill
from compress.recipe.finetune import FineTune
from runtime.errors import InterruptedRunError
from runtime.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Mapping


class Counted(nn.Module):
    """A classifier that counts the images it saw."""

    seen: list[int] = []  # noqa: RUF012  # copies of it share this
    sides: list[int] = []  # noqa: RUF012  # the same

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        self.sides.append(images.shape[-1])
        logits: Tensor = self.head(images.mean((2, 3)))
        return logits


class Stoppable(nn.Module):
    """A classifier that sends its own process SIGINT when a countdown ends."""

    countdown: list[int] = []  # noqa: RUF012  # copies of it share this

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        self.countdown[:] = [left - 1 for left in self.countdown if left > 0]
        if self.countdown == [0]:
            signal.raise_signal(signal.SIGINT)
        logits: Tensor = self.head(images.mean((2, 3)))
        return logits


@pytest.fixture
def teacher(tiny: ModuleType) -> Model:
    """A teacher of fixed weights that has not seen anything yet."""
    Counted.seen.clear()
    Counted.sides.clear()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made: Model = tiny.model(Counted())
    return made


def distil(**fields: object) -> Distill:
    """A short distillation of all images in one step, without augmentation."""
    filled = {
        "teacher": "tiny",
        "epochs": 1,
        "batch_size": 12,
        "learning_rate": 0.05,
        "schedule": "constant",
        "warmup": 0.0,
        "augment": "none",
    }
    return Distill.model_validate(filled | fields)


def logits_of(model: Model, data: Data, *, training: bool) -> np.ndarray:
    """Float64 [n, classes] of every training image, through numpy's normalization."""
    assert data.train is not None
    inputs = torch.from_numpy(model.preprocess(np.asarray(data.train.pixels)))
    net = copy.deepcopy(model.net).train(training)
    with torch.no_grad():
        return net(inputs).double().numpy()  # type: ignore[no-any-return]


def shares(logits: np.ndarray) -> np.ndarray:
    """Softmax as its definition."""
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("views", [0, 1], ids=["online", "kept"])
@pytest.mark.parametrize(
    ("temperature", "alpha", "smoothing"),
    [(4.0, 0.7, 0.0), (1.0, 0.0, 0.0), (2.0, 1.0, 0.0), (3.0, 0.5, 0.3)],
)
def test_the_loss_is_hintons(  # noqa: PLR0913, PLR0917  # three of them are the case
    tiny: ModuleType,
    tmp_path: Path,
    teacher: Model,
    views: int,
    temperature: float,
    alpha: float,
    smoothing: float,
) -> None:
    """Alpha T^2 KL(teacher/T, student/T) + (1 - alpha) cross-entropy, in numpy."""
    student, data, made = tiny.model(), tiny.data(train=12), tiny.context(tmp_path)
    stage = distil(
        views=views, temperature=temperature, alpha=alpha, label_smoothing=smoothing
    )

    stage(student, tiny.Opened(data), made, teacher)  # type: ignore[arg-type]

    own, theirs = (
        logits_of(student, data, training=True),
        logits_of(teacher, data, training=False),
    )
    p, q = shares(theirs / temperature), shares(own / temperature)
    soft = temperature**2 * (p * np.log(p / q)).sum(axis=1).mean()
    target = np.eye(3)[data.train.labels] * (1 - smoothing) + smoothing / 3
    hard = -(target * np.log(shares(own))).sum(axis=1).mean()
    (epoch,) = tiny.curve(made)
    assert epoch["loss"] == pytest.approx(alpha * soft + (1 - alpha) * hard, rel=1e-3)


def test_the_teacher_is_never_changed(
    tiny: ModuleType, tmp_path: Path, teacher: Model
) -> None:
    """Weights, mode and flags are as before, in both ways of asking."""
    teacher.net.train()
    before = copy.deepcopy(teacher.net.state_dict())

    for views in (0, 2):
        stage = distil(views=views, epochs=2)
        made = tiny.context(tmp_path / str(views))
        stage(tiny.model(), tiny.Opened(tiny.data(train=12)), made, teacher)  # type: ignore[arg-type]

    assert tiny.same(teacher.net.state_dict(), before)
    assert teacher.net.training
    assert all(parameter.grad is None for parameter in teacher.net.parameters())


def test_without_weight_the_teacher_teaches_nothing(
    tiny: ModuleType, tmp_path: Path, teacher: Model
) -> None:
    """At alpha 0 the student ends where fine-tuning on the labels ends."""
    student, data = tiny.model(), tiny.Opened(tiny.data(train=24))
    fields = {"epochs": 3, "augment": "auto"}

    taught = distil(alpha=0.0, views=3, **fields)(
        student,
        data,  # type: ignore[arg-type]
        tiny.context(tmp_path / "taught"),
        teacher,
    )
    options = {name: getattr(distil(**fields), name) for name in FineTune.model_fields}
    alone = FineTune(**options)(student, data, tiny.context(tmp_path / "alone"))  # type: ignore[arg-type]

    torch.testing.assert_close(
        taught.net.state_dict(), alone.net.state_dict(), rtol=1e-5, atol=1e-6
    )


def test_views_are_asked_once_and_cycle(
    tiny: ModuleType, tmp_path: Path, teacher: Model
) -> None:
    """Two views of 24 images for six epochs, however many epochs; then none at all."""
    student, data = tiny.model(), tiny.Opened(tiny.data(train=24))
    stage = distil(views=2, epochs=6, augment="auto")
    cache = tmp_path / "cache"

    first = stage(student, data, tiny.context(tmp_path / "a", cache=cache), teacher)  # type: ignore[arg-type]
    assert sum(Counted.seen) == 2 * 24
    second = stage(student, data, tiny.context(tmp_path / "b", cache=cache), teacher)  # type: ignore[arg-type]

    assert sum(Counted.seen) == 2 * 24
    assert tiny.same(first.net.state_dict(), second.net.state_dict())


def test_fewer_epochs_than_views_ask_for_fewer(
    tiny: ModuleType, tmp_path: Path, teacher: Model
) -> None:
    stage = distil(views=4, epochs=1)

    stage(
        tiny.model(), tiny.Opened(tiny.data(train=12)), tiny.context(tmp_path), teacher
    )  # type: ignore[arg-type]

    assert sum(Counted.seen) == 12


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_mixed_images_are_asked_every_time_and_that_is_said(
    tiny: ModuleType, tmp_path: Path, teacher: Model, mixing: str
) -> None:
    made = tiny.context(tmp_path)
    stage = distil(views=2, epochs=3, **{mixing: 1.0})

    stage(tiny.model(), tiny.Opened(tiny.data(train=12)), made, teacher)  # type: ignore[arg-type]

    assert Counted.seen == [12, 12, 12]
    (sentence,) = tiny.events(made, "tell")
    assert "mixed images have no answers on disk" in sentence
    assert not (made.cache / "answers").exists()


def test_student_and_teacher_look_at_one_view_at_their_own_resolution(
    tiny: ModuleType, tmp_path: Path, teacher: Model
) -> None:
    """The data is opened for the larger of the two; each sees its own size."""
    looked: list[int] = []

    class Catalogd(tiny.Opened):
        def open(self, preprocess: Preprocess) -> Data:
            looked.append(preprocess.size)
            made: Data = tiny.data(train=12, size=preprocess.size)
            return made

    large = replace(teacher, preprocess=replace(teacher.preprocess, size=16, resize=16))
    catalog = Catalogd(tiny.data())
    stage = distil(views=1)

    student = tiny.model(Counted(), size=8)
    stage(student, catalog, tiny.context(tmp_path), large)  # type: ignore[arg-type]

    assert looked == [16]
    assert Counted.sides == [16, 8]  # the answers are asked for first


def test_the_rival_is_the_same_student_with_the_same_budget() -> None:
    """`--baseline` adds it; every training option is the same, the teacher is gone."""
    stage = distil(epochs=7, baseline=True, label_smoothing=0.1, freeze=("stem",))

    rivals: Mapping[str, object] = stage.rivals()
    assert set(rivals) == {"alone"}
    alone = rivals["alone"]

    assert isinstance(alone, FineTune)
    assert alone.model_dump() == {
        name: getattr(stage, name) for name in FineTune.model_fields
    }
    assert distil().rivals() == {}


def test_label_smoothing_reaches_the_loss(tiny: ModuleType, tmp_path: Path) -> None:
    """Fine-tuning: (1 - s) of each label, and s / classes of every class."""
    student, data, made = tiny.model(), tiny.data(train=12), tiny.context(tmp_path)
    fields = {name: getattr(distil(), name) for name in FineTune.model_fields}

    FineTune(**(fields | {"label_smoothing": 0.3}))(student, tiny.Opened(data), made)  # type: ignore[arg-type]

    own = shares(logits_of(student, data, training=True))
    target = np.eye(3)[data.train.labels] * 0.7 + 0.1
    (epoch,) = tiny.curve(made)
    expected = -(target * np.log(own)).sum(axis=1).mean()
    assert epoch["loss"] == pytest.approx(expected, rel=1e-4)


def test_a_stopped_distillation_goes_on_to_the_same_bits(
    tiny: ModuleType, tmp_path: Path, teacher: Model
) -> None:
    """The answers are on disk, the state too; a second command ends as one would."""
    student, data = tiny.model(Stoppable()), tiny.Opened(tiny.data(train=24))
    stage = distil(views=2, epochs=3, augment="auto")
    whole = stage(student, data, tiny.context(tmp_path / "whole"), teacher)  # type: ignore[arg-type]
    made = tiny.context(tmp_path / "stopped")
    Stoppable.countdown[:] = [3]
    with pytest.raises(InterruptedRunError, match="stopped after 1 of 3"):
        stage(student, data, made, teacher)  # type: ignore[arg-type]

    again = stage(student, data, made, teacher)  # type: ignore[arg-type]

    assert "goes on at epoch 2, step 2" in tiny.events(made, "tell")[-1]
    assert tiny.same(again.net.state_dict(), whole.net.state_dict())
