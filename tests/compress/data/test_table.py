import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from compress.data.dataset import Catalog
from runtime.errors import InputRejectedError

Look = Callable[..., Catalog]


@pytest.fixture
def flat(make: SimpleNamespace, tmp_path: Path) -> Path:
    """Twelve images in one folder, listed nowhere yet."""
    return make.tree(tmp_path / "set", {"images": 12})


def _lines(
    labels: Iterable[object], *, start: str = "images/"
) -> list[tuple[str, str]]:
    """Line i lists image i."""
    return [(f"{start}{row}.png", str(label)) for row, label in enumerate(labels)]


def test_class_names_are_split_by_class(
    look: Look, make: SimpleNamespace, flat: Path
) -> None:
    """With a header or without, in any column order."""
    lines = _lines(["cat", "dog", "dog"] * 4)
    plain = make.table(flat / "plain.csv", *lines)
    headed = make.table(
        flat / "headed.csv",
        ("Label", "extra", "PATH"),
        *((b, "?", a) for a, b in lines),
    )

    first, second = look(f"csv:{plain}"), look(headed)

    assert first.classes == second.classes == ("cat", "dog")
    assert not first.indexed
    assert first.train.names == second.train.names
    assert sorted(first.train.names + first.val.names) == sorted(a for a, _ in lines)
    truth = dict(lines)
    for part in (first.train, first.val):
        for name, label in zip(part.names, part.labels, strict=True):
            assert first.classes[label] == truth[name]


def test_a_split_column_is_followed(
    look: Look, make: SimpleNamespace, flat: Path
) -> None:
    """train, val and test as the list says; val wins over test."""
    words = ["train"] * 6 + ["val"] * 4 + ["test"] * 2
    lines = [(*line, word) for line, word in zip(_lines("ab" * 6), words, strict=True)]
    found = look(make.table(flat / "list.csv", ("path", "label", "split"), *lines))

    assert set(found.train.names) == {line[0] for line in lines[:6]}
    assert set(found.val.names) == {line[0] for line in lines[6:10]}


def test_indices_with_gaps_are_for_evaluation_only(
    look: Look, make: SimpleNamespace, flat: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Indices are outputs 0 to the largest; gaps forbid training, not evaluation."""
    found = look(make.table(flat / "labels.csv", *_lines([0, 3, 7] * 4)))

    assert found.indexed
    assert found.train is None
    assert found.classes == tuple("01234567")
    assert sorted(found.val.labels.tolist()) == [0] * 4 + [3] * 4 + [7] * 4
    assert found.name == "set"
    assert "evaluation only" in capsys.readouterr().err


def test_indices_without_gaps_can_train(
    look: Look, make: SimpleNamespace, flat: Path
) -> None:
    """Every index has images: a share is held out as of names."""
    found = look(make.table(flat / "labels.csv", *_lines([0, 1] * 6)))

    assert found.indexed
    assert np.bincount(found.train.labels).tolist() == [4, 5]
    assert len(found.val) == 3


def test_a_list_inside_a_zip_names_its_neighbors(
    look: Look, make: SimpleNamespace, flat: Path, tmp_path: Path
) -> None:
    """labels.csv at the top or deeper; paths are relative to it."""
    make.table(flat / "labels.csv", *_lines(["a", "b"] * 6))
    top = make.zip(flat, tmp_path / "top.zip")
    deep = make.zip(tmp_path / "set", tmp_path / "other.zip")
    with zipfile.ZipFile(deep, "w") as archive:
        for file in sorted(flat.rglob("*.*")):
            archive.write(file, f"deep/{file.relative_to(flat).as_posix()}")

    first, second = look(f"csv:{top}"), look(f"csv:{deep}")

    assert [f"deep/{name}" for name in first.train.names] == list(second.train.names)
    assert look(f"csv:{flat}").train.names == first.train.names


def test_an_absolute_path_inside_is_allowed(
    look: Look, make: SimpleNamespace, flat: Path
) -> None:
    """It says the same as the relative one."""
    lines = _lines(["a", "b"] * 6, start=f"{flat}/images/")

    found = look(make.table(flat / "list.csv", *lines))

    assert all(name.startswith("images/") for name in found.train.names)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("path", "class"), ("images/0.png", "a")], "no column 'label'"),
        ([("name", "label"), ("images/0.png", "a")], "no column 'path'"),
        ([("images/0.png",)], r"line 1: has 1 column\(s\), the label is missing"),
        (
            [("images/0.png", "a"), ("images/1.png", " ")],
            "line 2: path or label is empt",
        ),
        ([("images/0.png", "1"), ("images/1.png", "x")], "line 2: label 'x' is not an"),
        ([("images/0.png", "1"), ("images/1.png", "-1")], "line 2: label '-1' is not"),
        (
            [("images/0.png", "0"), ("images/1.png", "9999999")],
            "larger than the larges",
        ),
        (
            [("images/0.png", "a"), ("images/99.png", "b")],
            r"'images/99.png'; paths are",
        ),
        ([("../secret.png", "a")], "line 1: path '../secret.png' leads outside"),
        ([("/etc/secret.png", "a")], "line 1: path '/etc/secret.png' leads outside"),
        ([("images/0.png", "a"), ("images/1.png", "a")], "only one class"),
        ([("images/0.png", "a"), ("images/1.png", "b")], "fewer than two images"),
        ([("images/0.png", "a", "dev")], "unknown split 'dev'; known: train"),
        (
            [("images/0.png", "0", "train"), ("images/1.png", "2", "train")],
            "class '1' has no images to train on",
        ),
        (
            [
                ("images/0.png", "a", "train"),
                ("images/1.png", "b", "train"),
                ("images/2.png", "a", "val"),
            ],
            "differ in their classes: 'b' only in train",
        ),
        ([], "lists no images"),
        ([("path", "label")], "lists no images"),
    ],
)
def test_a_broken_list_is_named_with_its_line(
    look: Look,
    make: SimpleNamespace,
    flat: Path,
    rows: list[tuple[str, ...]],
    words: str,
) -> None:
    """One sentence, before anything is decoded."""
    place = make.table(flat / "list.csv", *rows)

    with pytest.raises(InputRejectedError, match=words) as caught:
        look(f"csv:{place}")

    assert str(place) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_no_text_is_rejected(look: Look, flat: Path) -> None:
    """Bytes of an image are no UTF-8."""
    (flat / "list.csv").write_bytes(b"\xff\xfe\x00\x80")

    with pytest.raises(InputRejectedError, match="not readable as text"):
        look(flat / "list.csv")


def test_a_zip_without_a_list_says_so(
    look: Look, make: SimpleNamespace, flat: Path, tmp_path: Path
) -> None:
    """csv: was asked for and is not there; with two lists the choice is the user's."""
    with pytest.raises(InputRejectedError, match="has 0 CSV files"):
        look(f"csv:{make.zip(flat, tmp_path / 'x.zip')}")
