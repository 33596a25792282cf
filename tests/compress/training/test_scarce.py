"""Little data: what is told of it, and that it is told once."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from compress.cli.main import main
from compress.recipe.training import Training
from compress.training.scarce import doubt_of
from runtime.errors import Exit


@pytest.mark.parametrize(
    ("count", "trained", "init", "doubted"),
    [
        (299, False, None, True),
        (300, False, None, False),
        (30, True, None, False),
        (30, True, "he", True),  # weights that are drawn anew were not trained
    ],
)
def test_few_images_are_doubted_where_weights_are_random(
    count: int,
    trained: bool,  # a case of the table
    init: str | None,
    doubted: bool,  # as above
    tiny: ModuleType,
) -> None:
    """A hundred of each of three classes is where doubt ends."""
    model = tiny.model()
    object.__setattr__(model, "trained", trained)
    found = doubt_of(model, tiny.images(count), Training(init=init))  # type: ignore[arg-type]
    assert (found is not None) == doubted
    if found is not None:
        assert f"{count} images, {count / 3:.0f} a class" in found


@pytest.mark.usefixtures("own_cache")
def test_a_run_tells_of_it_and_so_does_its_report(
    draw_folder: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On stderr before the training, then in every form of the report, once."""
    data = draw_folder(tmp_path / "data")
    words = ("--model", "lenet5", "--data", f"folder:{data}", "--epochs", "1")
    out = tmp_path / "run"

    assert main(["finetune", *words, "--out", str(out)]) != Exit.BUG

    told = capsys.readouterr()
    sentence = "finetune: lenet5 learns from random weights on 32 images, 8 a class"
    assert told.err.count(f"doubt: {sentence}") == 1
    report = json.loads((out / "report.json").read_text())
    (doubt,) = report["doubts"]
    assert doubt.startswith(sentence)
    assert sentence in " ".join(told.out.split())
    assert sentence in (out / "report.md").read_text()
    assert sentence in (out / "report.html").read_text()
    # What the data decided stands in the report, as the family's choices do.
    (stage,) = report["recipe"]["stages"]
    assert stage["finetune"]["batch_size"] == 8
    assert "batch_size" not in (out / "recipe.yaml").read_text()
