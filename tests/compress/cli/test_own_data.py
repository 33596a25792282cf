"""What a run made is judged by, and goes on with, the data that the run had."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.cli.main import main
from compress.context.answer import Facts
from compress.data.spec import DataSpec
from compress.recipe.recipe import Recipe
from runtime.errors import Exit

Draw = Callable[..., Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, draw_folder: Draw) -> Path:
    """Forty images of four classes."""
    return draw_folder(tmp_path_factory.mktemp("own") / "photos")


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    """A network trained on them for an epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRESS_CACHE", str(data.parent / "cache"))
        out = data.parent / "run"
        words = ["finetune", "--model", "lenet5", "--epochs", "1", "--image-size", "32"]
        words += ["--data", f"folder:{data}", "--val-fraction", "0.3"]
        code = main([*words, "--out", str(out), "-q"])
        assert code in (Exit.FIT, Exit.BUDGET)  # an epoch may not be enough
    return out


@pytest.fixture(autouse=True)
def cache(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode once for all."""
    monkeypatch.setenv("EDGEPRESS_CACHE", str(data.parent / "cache"))


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "01-finetune",
        "01-finetune/model.safetensors",
        "artifacts/model-lenet5.onnx",
    ],
)
def test_eval_asks_the_images_that_the_run_held_out(
    inside: str, run: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many right answers as with the data named; formerly it was the digits."""
    model = ["eval", "--json", "--model", str(run / inside)]

    assert main(model) == Exit.FIT
    printed = capsys.readouterr()
    assert f"data: 'folder:{data}', as the run {run} was made with" in printed.err
    named = ["--data", f"folder:{data}", "--val-fraction", "0.3"]
    assert main([*model, *named]) == Exit.FIT
    again = capsys.readouterr()
    assert "was made with" not in again.err
    assert json.loads(printed.out) == json.loads(again.out)
    assert json.loads(printed.out)["images"] == 12


@pytest.mark.parametrize(
    "words",
    [
        ("verify",),
        ("sensitivity", "--images", "12", "--ratios", "0.5", "--model"),
        ("quantize", "--calib-images", "8", "--model"),
    ],
    ids=lambda words: words[0],
)
def test_a_verb_goes_on_with_the_data_of_a_run(
    words: tuple[str, ...],
    run: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is said, and it stands in what is written."""
    out = tmp_path / "out"
    code = main([*words, str(run), "--out", str(out)])

    printed = capsys.readouterr()
    assert code in (Exit.FIT, Exit.PARITY, Exit.BUDGET), printed.err
    assert f"data: 'folder:{data}', as the run {run} was made with" in printed.err
    if words[0] == "quantize":
        report = json.loads((out / "report.json").read_text())
        counts = {"classes": 4, "name": "photos", "train": 28, "val": 12}
        assert report["data"] == counts
        assert report["recipe"]["data"]["source"] == f"folder:{data}"


@pytest.mark.parametrize(
    "words",
    [
        ("export", "--model"),
        ("quantize", "--mode", "qat", "--model"),
        ("prune", "--ratio", "0.3", "--model"),
        ("sparsify", "--sparsity", "0.5", "--model"),
        ("factorize", "--energy", "0.9", "--model"),
        ("finetune", "--model"),
        ("distill", "--student", "lenet5", "--teacher"),
    ],
    ids=lambda words: words[0],
)
def test_every_recipe_that_begins_with_a_run_names_its_data(
    words: tuple[str, ...],
    run: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And keeps what is said about them beside, such as a share to hold out."""
    recipes: list[Recipe] = []

    def noted(recipe: Recipe, folder: Path, **rest: object) -> Facts:
        del folder, rest
        recipes.append(recipe)
        return Facts(text="", facts={})

    monkeypatch.setattr("compress.pipeline.run.run", noted)

    assert main([*words, str(run), "--train-images", "20"]) == Exit.FIT

    (recipe,) = recipes
    assert recipe.data == DataSpec(
        source=f"folder:{data}", size=32, val_fraction=0.3, train_images=20
    )
    assert "was made with" in capsys.readouterr().err


def test_data_that_is_gone_is_a_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    recipe = copy / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("photos", "gone"))
    (copy / "manifest.json").unlink()  # else the recipe would be known to be changed

    for words in (["eval", "--model", str(copy)], ["verify", str(copy)]):
        assert main([*words, "-q"]) == Exit.USAGE
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert "/gone', which is not there any more; name the data with --data" in told


def test_a_foreign_record_gets_no_network_and_a_broken_one_is_a_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a run was allowed is not allowed to whoever is given it."""
    copy = shutil.copytree(run, tmp_path / "copy")
    recipe = copy / "recipe.yaml"
    text = recipe.read_text()
    at = next(line for line in text.splitlines() if "source: folder:" in line)
    root = tmp_path / "empty"
    root.mkdir()
    recipe.write_text(
        text.replace(at, f"  source: cifar10\n  root: {root}").replace(
            "download: false", "download: true"
        )
    )
    assert main(["eval", "--model", str(copy), "-q"]) == Exit.USAGE
    assert "allow the network with --download" in capsys.readouterr().err
    assert list(root.iterdir()) == []

    recipe.write_text("data: {source: [folder]}")
    assert main(["eval", "--model", str(copy), "-q"]) == Exit.USAGE
    told = capsys.readouterr().err
    assert str(recipe) in told
    assert "name the data with --data" in told


def test_a_model_that_no_run_made_is_judged_by_the_default_as_before(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recipe that happens to lie above is not the model's."""
    place = tmp_path / "project/nets/one"
    shutil.copytree(run / "01-finetune", place)
    shutil.copy(run / "recipe.yaml", tmp_path / "project/recipe.yaml")

    assert main(["eval", "--model", str(place)]) == Exit.USAGE
    told = capsys.readouterr().err
    assert "was made with" not in told
    assert "digits has 10" in told
