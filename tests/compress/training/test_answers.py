"""A teacher's answers: asked once, kept on disk, looked up; never wrong."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.data.augment import Augment
from compress.data.batches import batches
from compress.data.data import Batch
from compress.training.teacher_cache import TeacherAnswers
from runtime.errors import InputRejectedError
from runtime.preprocess import Preprocess

if TYPE_CHECKING:
    from compress.models.model import Model

AUGMENT = Augment(crop="pad", flip=True)


class Watched(nn.Module):
    """A classifier that notes how it was called."""

    calls: list[tuple[bool, bool, Tensor]] = []  # noqa: RUF012  # copies of it share this

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append((self.training, torch.is_inference_mode_enabled(), images))
        logits: Tensor = self.head(self.norm(images).mean((2, 3)))
        return logits


@pytest.fixture
def calls() -> list[tuple[bool, bool, Tensor]]:
    """What `Watched` notes, from an empty page."""
    Watched.calls.clear()
    return Watched.calls


@pytest.fixture
def asked(tiny: ModuleType, tmp_path: Path) -> TeacherAnswers:
    """Thirteen images and a teacher for them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teacher = tiny.model(Watched())
    return TeacherAnswers(
        teacher=teacher,
        images=tiny.images(13),
        augment=AUGMENT,
        context=tiny.context(tmp_path),
    )


def some(asked: TeacherAnswers, view: int, *, epoch: int = 0) -> Batch:
    """A shuffled batch as a training would see it."""
    loader = batches(
        asked.images,
        batch_size=5,
        seed=asked.context.seed,
        epoch=epoch,
        view=view,
        augment=asked.augment,
        shuffle=True,
        drop_last=True,
        workers=0,
    )
    return next(loader)


def files(asked: TeacherAnswers) -> list[Path]:
    """What is on disk, view by view."""
    return sorted((asked.context.cache / "answers").rglob("*.f16"))


def test_kept_answers_are_those_the_teacher_gives(asked: TeacherAnswers) -> None:
    """For the same (view, index), to half a unit of float16's last place."""
    kept, online = asked.kept(2), asked.online()

    for view in (0, 1):
        batch = some(asked, view, epoch=view)
        expected = online(batch)
        torch.testing.assert_close(kept(batch), expected, rtol=2**-11, atol=1e-4)
        assert kept(batch).dtype == torch.float32
        assert expected.std() > 0.05
    one, other = (kept(some(asked, view)) for view in (0, 1))
    assert not torch.equal(one, other)


def test_the_second_run_does_not_call_the_teacher(
    asked: TeacherAnswers, calls: list[object], tiny: ModuleType
) -> None:
    """It says so, and gives the same answers."""
    first = asked.kept(2)
    assert len(calls) == 2
    assert [path.stat().st_size for path in files(asked)] == [13 * 3 * 2] * 2

    second = asked.kept(2)

    assert len(calls) == 2
    assert torch.equal(second(some(asked, 1)), first(some(asked, 1)))
    assert (
        "teacher's answers: reused, 2 views" in tiny.events(asked.context, "tell")[-1]
    )


def test_more_views_ask_for_the_missing_ones_only(
    asked: TeacherAnswers, calls: list[object]
) -> None:
    asked.kept(1)
    calls.clear()

    asked.kept(3)

    assert len(calls) == 2


@pytest.mark.parametrize(
    "changed", ["teacher", "buffer", "normalization", "data", "augment", "seed"]
)
def test_answers_to_another_question_are_not_used(
    asked: TeacherAnswers, calls: list[object], tiny: ModuleType, changed: str
) -> None:
    """Whatever the answers depend on has a part in their name."""
    asked.kept(1)
    calls.clear()
    moved = copy.deepcopy(asked.teacher.net)
    moved.norm.running_mean[0] = 1.0  # type: ignore[index, union-attr]
    other = Watched()
    nn.init.ones_(other.head.weight)
    black = replace(asked.teacher.preprocess, mean=(0.0, 0.0, 0.0))
    stale = {
        "teacher": replace(asked, teacher=asked.teacher.with_net(other)),
        "buffer": replace(asked, teacher=asked.teacher.with_net(moved)),
        "normalization": replace(
            asked, teacher=replace(asked.teacher, preprocess=black)
        ),
        "data": replace(asked, images=tiny.images(13, seed=1)),
        "augment": replace(asked, augment=Augment(crop="pad", flip=False)),
        "seed": replace(asked, context=replace(asked.context, seed=1)),
    }[changed]

    answers = stale.kept(1)

    assert len(calls) == 1
    batch = some(stale, 0)
    expected = stale.online()(batch)
    torch.testing.assert_close(answers(batch), expected, rtol=2**-11, atol=1e-4)


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _record(path: Path) -> None:
    path.with_suffix(".json").write_text("{", encoding="utf-8")


@pytest.mark.parametrize("damage", [_flipped, _truncated, _empty, _record])
def test_damaged_answers_are_found_and_asked_again(
    asked: TeacherAnswers,
    calls: list[object],
    tiny: ModuleType,
    damage: Callable[[Path], None],
) -> None:
    """Only the damaged view, with a sentence; then its bytes are what they were."""
    asked.kept(2)
    calls.clear()
    victim = files(asked)[1]
    before = victim.read_bytes()
    damage(victim)

    asked.kept(2)

    assert len(calls) == 1
    assert victim.read_bytes() == before
    assert (
        "view-001.f16 is damaged; asked again" in tiny.events(asked.context, "tell")[-1]
    )


@pytest.mark.parametrize("suffix", [".f16", ".json"])
def test_unfinished_answers_are_asked_again(
    asked: TeacherAnswers, calls: list[object], suffix: str
) -> None:
    """The record comes last; a view that lacks one of its two files is not there."""
    asked.kept(1)
    calls.clear()
    files(asked)[0].with_suffix(suffix).unlink()

    asked.kept(1)

    assert len(calls) == 1


def test_an_interrupted_teacher_leaves_no_half_written_answers(
    asked: TeacherAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Watched, images: Tensor) -> Tensor:
        del self, images
        raise KeyboardInterrupt

    monkeypatch.setattr(Watched, "forward", stop)

    with pytest.raises(KeyboardInterrupt):
        asked.kept(1)

    assert [path for path in asked.context.cache.rglob("*") if path.is_file()] == []


def test_the_teacher_is_asked_in_eval_and_inference_mode_and_never_changed(
    asked: TeacherAnswers, calls: list[tuple[bool, bool, Tensor]]
) -> None:
    """Its weights, running statistics and mode are as before; answers may be used."""
    asked.teacher.net.train()
    before = copy.deepcopy(asked.teacher.net.state_dict())

    answers = asked.online()(some(asked, 0))
    asked.kept(1)

    assert all(
        (training, inference) == (False, True) for training, inference, _ in calls
    )
    assert asked.teacher.net.training
    for name, value in asked.teacher.net.state_dict().items():
        assert torch.equal(value, before[name]), name
    student = torch.zeros_like(answers, requires_grad=True)
    (student * answers).sum().backward()  # autograd refuses an inference tensor
    assert torch.equal(student.grad, answers)  # type: ignore[arg-type]


def test_the_teacher_sees_its_own_resolution_and_normalization(
    asked: TeacherAnswers, calls: list[tuple[bool, bool, Tensor]]
) -> None:
    """Of white pixels at 8x8 a teacher of 16x16 sees (1 - mean) / std at 16x16."""
    own = Preprocess(size=16, resize=16, mean=(0.0, 0.5, 0.25), std=(1.0, 0.5, 0.25))
    teacher: Model = replace(asked.teacher, preprocess=own)
    white = replace(
        asked.images, pixels=np.full((13, 8, 8, 3), 255, np.uint8), digest="white"
    )

    replace(asked, teacher=teacher, images=white, augment=None).kept(1)

    ((_, _, seen),) = calls
    assert seen.shape == (13, 3, 16, 16)
    expected = torch.tensor([1.0, 1.0, 3.0]).view(1, 3, 1, 1).expand_as(seen)
    torch.testing.assert_close(seen, expected)


def test_a_teacher_that_answers_nonsense_is_refused(asked: TeacherAnswers) -> None:
    """NaN would be learnt silently; nothing of it is kept."""
    net = copy.deepcopy(asked.teacher.net)
    nn.init.constant_(net.head.bias, float("nan"))  # type: ignore[arg-type, union-attr]
    broken = replace(asked, teacher=asked.teacher.with_net(net))

    with pytest.raises(InputRejectedError, match="tiny: answers with NaN or infinity"):
        broken.kept(1)

    assert files(broken) == []


def test_answers_beyond_float16_are_kept_finite(asked: TeacherAnswers) -> None:
    """65504 is the largest binary16; a softmax cannot tell it from more."""
    net = copy.deepcopy(asked.teacher.net)
    nn.init.constant_(net.head.bias, 1e6)  # type: ignore[arg-type, union-attr]

    answers = replace(asked, teacher=asked.teacher.with_net(net)).kept(1)

    assert torch.equal(answers(some(asked, 0)), torch.full((5, 3), 65504.0))
