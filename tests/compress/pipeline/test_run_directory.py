"""A run directory belongs to one recipe and one process."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from compress.pipeline.run_directory import claimed, write_manifest
from compress.recipe.recipe import Recipe, read_recipe
from runtime.errors import RecipeError

RECIPE = Recipe.model_validate({"name": "r", "model": "lenet5"})
OTHER = Recipe.model_validate({"name": "other", "model": "lenet5"})


def test_a_claim_writes_the_recipe_down(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    with claimed(folder, RECIPE):
        assert read_recipe(folder / "recipe.yaml") == RECIPE


def test_the_same_recipe_takes_its_folder_up_again(tmp_path: Path) -> None:
    for _ in range(2):
        with claimed(tmp_path, RECIPE):
            (tmp_path / "result").touch()
    assert (tmp_path / "result").is_file()


def test_another_recipe_is_kept_out_and_changes_nothing(tmp_path: Path) -> None:
    with claimed(tmp_path, RECIPE):
        (tmp_path / "result").touch()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with (
        pytest.raises(RecipeError, match=r"already holds another run \(r\)"),
        claimed(tmp_path, OTHER),
    ):
        pytest.fail("two runs in one folder")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with (
        pytest.raises(RecipeError, match=r"holds no run \(thesis.tex …\)"),
        claimed(tmp_path, RECIPE),
    ):
        pytest.fail("claimed somebody's folder")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out, reason in (("file", "is a file"), ("file/below", "Not a directory")):
        with (
            pytest.raises(RecipeError, match=reason),
            claimed(tmp_path / out, RECIPE),
        ):
            pytest.fail("claimed a file")


def test_a_second_process_is_told_to_wait(tmp_path: Path) -> None:
    """The lock is the operating system's, so a killed process leaves none behind."""
    code = (
        "import sys; from pathlib import Path\n"
        "from compress.pipeline.run_directory import claimed\n"
        "from compress.recipe.recipe import Recipe\n"
        "from runtime.errors import RecipeError\n"
        "recipe = Recipe.model_validate({'name': 'r', 'model': 'lenet5'})\n"
        "try:\n"
        "    with claimed(Path(sys.argv[1]), recipe): print('in')\n"
        "except RecipeError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]

    def second() -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout

    with claimed(tmp_path / "run", RECIPE):
        assert "another process is running in it" in second()
        assert (tmp_path / "run/recipe.yaml").is_file()
    assert second() == "in\n"


def started_then(error: BaseException, folder: Path, *made: str) -> None:
    """A run that writes `made` in its folder and then meets `error`."""
    with claimed(folder, RECIPE):
        for name in made:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
        raise error


@pytest.mark.parametrize("existed", [False, True])
def test_a_claim_that_came_to_nothing_is_taken_back(
    tmp_path: Path, *, existed: bool
) -> None:
    """The corrected command must be able to use the same --out."""
    folder = tmp_path / "run"
    if existed:
        folder.mkdir()
    with pytest.raises(RecipeError, match="no such model"):
        started_then(RecipeError("no such model"), folder, "events.jsonl")
    assert folder.exists() == existed
    with claimed(folder, OTHER):
        assert read_recipe(folder / "recipe.yaml") == OTHER


def test_what_an_interrupted_run_made_is_kept_with_its_claim(tmp_path: Path) -> None:
    state = "01-finetune/state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        started_then(KeyboardInterrupt(), tmp_path, state)
    assert (tmp_path / state).is_file()
    assert read_recipe(tmp_path / "recipe.yaml") == RECIPE


def test_of_several_processes_only_the_first_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `torchrun` numbers them; the others work in the folder of the first."""
    with claimed(tmp_path, RECIPE):
        monkeypatch.setenv("RANK", "1")
        with claimed(tmp_path, RECIPE):
            assert read_recipe(tmp_path / "recipe.yaml") == RECIPE


def test_the_manifest_lists_what_the_run_wrote(tmp_path: Path) -> None:
    """Digests by hashlib, as `sha256sum` would print them."""
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts/m.onnx").write_bytes(b"onnx")
    for name in (".lock", "events.jsonl"):
        (tmp_path / name).write_text("changes with every run")
    write_manifest(tmp_path)
    write_manifest(tmp_path)  # it does not list itself
    assert json.loads((tmp_path / "manifest.json").read_text()) == {
        "files": [
            {
                "path": "artifacts/m.onnx",
                "bytes": 4,
                "sha256": hashlib.sha256(b"onnx").hexdigest(),
            }
        ]
    }
