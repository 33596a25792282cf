"""A teacher without weights is trained once, announced, kept, and found again."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import pytest

from compress.context.context import RunContext
from compress.data.data import Data
from compress.models.checkpoint import save_model
from compress.models.model import Model
from compress.models.spec import CodePath, ModelSpec
from compress.training.resume import STATE
from compress.training.teacher import larger, teacher_for
from runtime.preprocess import Preprocess

CODE = """
from torch import nn


def build(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, num_classes),
    )
"""


@dataclass(frozen=True)
class Listed:
    """A catalog of tiny images; each look decodes them anew."""

    make: Callable[..., Data]
    seed: int = 0
    name: str = "colors"
    classes: tuple[str, ...] = ("red", "green", "blue")
    native_size: int = 32
    looks: list[Preprocess] = field(default_factory=list)

    def open(self, preprocess: Preprocess) -> Data:
        self.looks.append(preprocess)
        return self.make(train=70, size=preprocess.size, seed=self.seed)

    def asked(self, preprocess: Preprocess) -> Preprocess:
        return preprocess


@dataclass(frozen=True)
class School:
    """A place in which a teacher is made ready."""

    spec: ModelSpec
    data: Listed
    context: RunContext
    tiny: ModuleType

    def teacher(self, *, epochs: int | None = 1) -> Model:
        """The teacher, as a distillation would get it."""
        return teacher_for(
            self.spec,
            self.data,  # type: ignore[arg-type]
            self.context,
            epochs=epochs,
            exif=True,
        )

    @property
    def told(self) -> str:
        """Everything that was said, a sentence a line."""
        return "\n".join(self.tiny.events(self.context, "tell"))

    @property
    def kept(self) -> list[Path]:
        """The folders of kept teachers."""
        return sorted((self.context.cache / "teachers").glob("*"))


@pytest.fixture
def school(tiny: ModuleType, tmp_path: Path) -> School:
    """An untrained teacher of the user's own, and tiny data."""
    code = tmp_path / "my_net.py"
    code.write_text(CODE, encoding="utf-8")
    return School(
        spec=ModelSpec(name="my_net", factory=CodePath(f"{code}:build")),
        data=Listed(tiny.data),
        context=tiny.context(tmp_path / "job"),
        tiny=tiny,
    )


def test_a_teacher_without_weights_is_trained_once_and_reused(school: School) -> None:
    """The second time nothing is trained, the bits are the same, and it is said."""
    first = school.teacher()
    assert "has no weights for colors, so it is trained first, 1 epoch;" in school.told
    assert "reused" not in school.told
    epochs = len(school.tiny.curve(school.context))

    second = school.teacher()

    assert "teacher my_net: reused, trained earlier" in school.told
    assert len(school.tiny.curve(school.context)) == epochs == 1
    assert school.tiny.same(first.net.state_dict(), second.net.state_dict())
    (folder,) = school.kept
    assert not (folder / STATE).exists()
    assert not second.net.training


@pytest.mark.parametrize("harm", ["a digit of std", "no digest"])
def test_a_teacher_whose_record_nothing_vouches_for_is_trained_again(
    school: School, harm: str
) -> None:
    """Its weights are whole, but it would look at other images, and another answer."""
    first = school.teacher()
    (folder,) = school.kept
    record = json.loads((folder / "model.json").read_text())
    if harm == "no digest":  # as an older edgepress wrote it
        del record["record_sha256"]
    else:
        record["preprocess"]["std"][0] += 1e-3
    (folder / "model.json").write_text(json.dumps(record))

    again = school.teacher()

    assert "teacher my_net: the kept one is of no use" in school.told
    assert again.preprocess == first.preprocess
    assert school.tiny.same(first.net.state_dict(), again.net.state_dict())
    school.teacher()
    assert "teacher my_net: reused" in school.told


def test_training_changes_the_teacher(school: School) -> None:
    """With no epochs it is what its weights are; with some it is another."""
    raw, trained = school.teacher(epochs=0), school.teacher(epochs=1)

    assert not school.tiny.same(raw.net.state_dict(), trained.net.state_dict())
    assert len(school.kept) == 1


@pytest.mark.parametrize("changed", ["epochs", "data", "seed", "code"])
def test_another_question_trains_another_teacher(school: School, changed: str) -> None:
    """Epochs, data, seed and the user's code each have a part in the name."""
    school.teacher(epochs=1)
    if changed == "code":
        file = Path(str(school.spec.factory).partition(":")[0])
        file.write_text(CODE.replace("ReLU", "Tanh"), encoding="utf-8")
    other = {
        "epochs": school,
        "data": replace(school, data=replace(school.data, seed=1)),
        "seed": replace(school, context=replace(school.context, seed=1)),
        "code": school,
    }[changed]

    other.teacher(epochs=2 if changed == "epochs" else 1)

    assert "reused" not in school.told
    assert len(school.kept) == 2


def test_the_students_folder_has_no_part_in_it(school: School, tmp_path: Path) -> None:
    """Another run, in another folder, finds the same teacher."""
    school.teacher()

    elsewhere = replace(
        school, context=replace(school.context, folder=tmp_path / "other")
    )
    elsewhere.teacher()

    assert len(school.kept) == 1
    assert "reused" in school.told


def test_a_damaged_teacher_is_found_and_trained_again(school: School) -> None:
    """A changed bit is said, and the new one has the bits of the first."""
    first = school.teacher()
    (folder,) = school.kept
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    second = school.teacher()

    assert "the kept one is of no use" in school.told
    assert "reused" not in school.told
    assert school.tiny.same(first.net.state_dict(), second.net.state_dict())


def test_a_saved_model_with_these_classes_is_a_teacher_as_it_is(
    school: School, tmp_path: Path
) -> None:
    """It has weights for this data, so nothing is trained unless epochs are asked."""
    saved = tmp_path / "saved"
    trained = school.teacher()
    save_model(trained, saved)
    again = replace(school, spec=school.spec.model_copy(update={"name": str(saved)}))
    epochs = len(school.tiny.curve(school.context))

    teacher = again.teacher(epochs=None)

    assert len(school.tiny.curve(school.context)) == epochs
    assert school.tiny.same(teacher.net.state_dict(), trained.net.state_dict())


def test_a_fresh_teacher_is_trained_without_being_asked(school: School) -> None:
    """By default: five epochs where there are no weights for this data."""
    school.teacher(epochs=None)

    assert len(school.tiny.curve(school.context)) == 5


def test_views_are_made_for_whoever_looks_closer(tiny: ModuleType) -> None:
    small, large = tiny.model(size=8), tiny.model(size=16)

    assert larger(small, large) is large
    assert larger(large, small) is large
