import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from compress.data.dataset import Catalog
from compress.data.listing import Listing
from runtime.errors import InputRejectedError, RecipeError

Look = Callable[..., Catalog]


def _pairs(listing: Listing, classes: tuple[str, ...]) -> dict[str, str]:
    """Name -> class, as a person would read it."""
    return {
        name: classes[label]
        for name, label in zip(listing.names, listing.labels, strict=True)
    }


def test_train_and_val_folders_are_the_splits(
    look: Look, make: SimpleNamespace, tmp_path: Path
) -> None:
    """Every file is listed under the class whose folder holds it."""
    make.tree(
        tmp_path / "pets",
        {"train/cat": 3, "train/dog/puppies": 2, "val/cat": 1, "val/dog": 1},
    )
    (tmp_path / "pets/train/cat/.DS_Store").write_bytes(b"x")
    (tmp_path / "pets/train/cat/notes.txt").write_text("x")

    found = look(f"folder:{tmp_path / 'pets'}")

    assert (found.name, found.classes, found.indexed) == ("pets", ("cat", "dog"), False)
    assert found.native_size == 9
    assert _pairs(found.train, found.classes) == {
        "train/cat/0.png": "cat",
        "train/cat/1.png": "cat",
        "train/cat/2.png": "cat",
        "train/dog/puppies/0.png": "dog",
        "train/dog/puppies/1.png": "dog",
    }
    assert _pairs(found.val, found.classes) == {
        "val/cat/0.png": "cat",
        "val/dog/0.png": "dog",
    }


@pytest.mark.parametrize("word", ["val", "valid", "test", "Validation"])
def test_the_held_out_folder_has_many_names(
    look: Look, make: SimpleNamespace, tmp_path: Path, word: str
) -> None:
    """val/, test/ and their spellings are one thing."""
    counts = {"train/a": 1, "train/b": 1, f"{word}/a": 1, f"{word}/b": 1}
    found = look(make.tree(tmp_path / "x", counts))

    assert found.val.names == (f"{word}/a/0.png", f"{word}/b/0.png")


def test_folder_and_zip_list_the_same_and_have_one_digest(
    look: Look, make: SimpleNamespace, tmp_path: Path
) -> None:
    """A zip of a folder (with the folder's name inside or not) is the same data."""
    from runtime.preprocess import Preprocess

    folder = make.tree(tmp_path / "in/pets", {"cat": 6, "dog": 7})
    flat = make.zip(folder, tmp_path / "flat.zip")
    wrapped = make.zip(tmp_path / "in", tmp_path / "wrapped.zip")

    a, b, c = look(f"folder:{folder}"), look(f"folder:{flat}"), look(wrapped)

    assert a.train.names == b.train.names
    assert [f"pets/{name}" for name in a.val.names] == list(c.val.names)
    shape = Preprocess(size=8, resize=8)
    assert a.open(shape).train.digest == b.open(shape).train.digest


def test_one_folder_is_split_by_class_and_never_by_the_runs_seed(
    look: Look, make: SimpleNamespace, tmp_path: Path
) -> None:
    """An evaluation under another seed must not see what was trained on."""
    folder = make.tree(tmp_path / "x", {"cat": 10, "dog": 20})

    first, second = look(folder, seed=0), look(folder, seed=1)
    wider = look(folder, val_fraction=0.5)

    assert np.bincount(first.val.labels).tolist() == [2, 4]
    assert np.bincount(first.train.labels).tolist() == [8, 16]
    assert first.val.names == second.val.names
    assert np.bincount(wider.val.labels).tolist() == [5, 10]


def test_only_a_test_folder_is_for_evaluation_only(
    look: Look,
    make: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without train/ there is no training split, and the user is told."""
    found = look(make.tree(tmp_path / "x", {"test/a": 2, "test/b": 2}))

    assert found.train is None
    assert len(found.val) == 4
    assert "evaluation only" in capsys.readouterr().err


def test_a_subset_for_training_is_stratified_and_seeded(
    look: Look, make: SimpleNamespace, tmp_path: Path
) -> None:
    """train_images counts exactly; the seed chooses which."""
    folder = make.tree(tmp_path / "x", {"a": 20, "b": 20})

    first, second = (look(folder, seed=seed, train_images=8) for seed in (0, 1))

    assert np.bincount(first.train.labels).tolist() == [4, 4]
    assert first.train.names != second.train.names
    with pytest.raises(RecipeError, match="fewer than the 2 classes"):
        look(folder, train_images=1)


Build = Callable[[type, Path], object]


@pytest.mark.parametrize(
    ("counts", "error", "words"),
    [
        ({}, InputRejectedError, "holds no images"),
        ({"train": 3}, InputRejectedError, "no class folders"),
        ({"": 3}, InputRejectedError, "no class folders"),
        ({"cat": 3}, InputRejectedError, "only one class .'cat'"),
        ({"cat": 3, "dog": 0}, InputRejectedError, "'dog' has no images"),
        (
            {"train/cat": 3, "train/dog": 2, "val/cat": 1, "val/dog": 0},
            InputRejectedError,
            "'dog' has no images",
        ),
        (
            {"train/cat": 3, "train/dog": 2, "val/cat": 1, "val/fox": 1},
            InputRejectedError,
            "'dog' only in train; 'fox' only in validation",
        ),
        ({"cat": 3, "dog": 1}, InputRejectedError, "'dog' has fewer than two"),
        (
            {"train/cat": 3, "train/dog": 2, "val": 1},
            InputRejectedError,
            "val/ has no class folders",
        ),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_cannot_be_a_data_set_is_named(  # noqa: PLR0913, PLR0917  # fixtures
    look: Look,
    make: SimpleNamespace,
    tmp_path: Path,
    counts: dict[str, int],
    error: type[Exception],
    words: str,
    packed: bool,
) -> None:
    """One sentence with the place and the reason, before anything is decoded."""
    place = make.tree(tmp_path / "x", counts)
    place.mkdir(exist_ok=True)
    if packed:
        place = make.zip(place, tmp_path / "x.zip")

    with pytest.raises(error, match=words) as caught:
        look(f"folder:{place}")

    assert str(place) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("folder:/nowhere/at/all", "no such file or folder"),
        ("csv:/nowhere.csv", "no such file or folder"),
        ("csv:", "no such file or folder"),
        ("/nowhere/x.zip", "no such file or folder"),
        ("x" * 5000 + "/y", "no such file or folder"),
        ("folder:~nobody-here/x", "no such file or folder"),
        ("cifar-10", "did you mean 'cifar10'"),
        ("digit", "did you mean 'digits'"),
        ("zzzzz", "known: digits, cifar10"),
    ],
)
def test_what_does_not_exist_is_a_mistake_in_the_command(
    look: Look, source: str, words: str
) -> None:
    """A wrong name suggests the nearest; a wrong path is repeated."""
    with pytest.raises(RecipeError, match=words):
        look(source)


def test_a_file_that_is_no_data_set_is_said_to_be_none(
    look: Look, tmp_path: Path
) -> None:
    """Neither a folder nor a zip."""
    (tmp_path / "x.txt").write_text("hello")

    with pytest.raises(RecipeError, match=r"neither a folder nor a \.zip"):
        look(f"folder:{tmp_path / 'x.txt'}")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 60])
def test_a_zip_that_is_none_is_rejected(
    look: Look, tmp_path: Path, content: bytes
) -> None:
    """Truncated or never a zip: input rejected, with the file's name."""
    (tmp_path / "x.zip").write_bytes(content)

    with pytest.raises(InputRejectedError, match=r"x\.zip: is not a readable zip"):
        look(tmp_path / "x.zip")


@pytest.mark.parametrize("name", ["../../x.png", "/etc/x.png", "a/../../x.png", "C:/x"])
def test_a_zip_whose_members_escape_is_rejected(
    look: Look, make: SimpleNamespace, tmp_path: Path, name: str
) -> None:
    """Nothing is unpacked, and still such a zip is not trusted."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("cat/0.png", make.image(0))
        archive.writestr(name, make.image(1))

    with pytest.raises(InputRejectedError, match="points outside the zip"):
        look(tmp_path / "x.zip")


def test_links_that_loop_end(look: Look, make: SimpleNamespace, tmp_path: Path) -> None:
    """A link to the folder above is walked once."""
    folder = make.tree(tmp_path / "x", {"cat": 3, "dog": 3})
    (folder / "cat/again").symlink_to(folder)

    found = look(folder)

    assert len(found.train) + len(found.val) == 6
