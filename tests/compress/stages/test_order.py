"""An order of stages that cannot work is told before any work, by its place."""

import itertools
from pathlib import Path

import pytest

from compress.cli.main import main
from compress.recipe.stage import misplaced
from compress.recipe.stages import QUANTIZING, STAGES
from runtime.errors import Exit

# The least that each stage has to be told.
OPTIONS = {
    "distill": "{teacher: lenet5}",
    "prune": "{ratio: 0.5}",
    "sparsify": "{sparsity: 0.5}",
    "factorize": "{energy: 0.9}",
}
PAIRS = list(itertools.product(STAGES, STAGES))


def recipe(folder: Path, *names: str) -> Path:
    """A recipe of these stages on images that do not exist."""
    path = folder / "r.yaml"
    steps = ", ".join(f"{{{name}: {OPTIONS.get(name, '{}')}}}" for name in names)
    path.write_text(
        f"name: r\nmodel: lenet5\ndata: folder:/no/such\nstages: [{steps}]\n"
    )
    return path


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_nothing_comes_after_what_quantizes(
    first: str, second: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every pair of stages, as a file; the data of those that fit is missed next."""
    path = recipe(tmp_path, first, second)

    assert main(["run", str(path), "-q", "--out", str(tmp_path / "out")]) == Exit.USAGE

    told = capsys.readouterr().err
    assert told.count("\n") == 1
    if first in QUANTIZING:
        assert f"{path}: stages.1.{second}: takes a float network, and" in told
        assert f"stages.0.{first} before it gives an INT8 network; " in told
    else:
        assert "/no/such: no such file or folder" in told
    assert not (tmp_path / "out").exists()


def test_the_first_that_does_not_fit_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(tmp_path, "finetune", "ptq", "sparsify", "ptq")
    assert main(["run", str(path), "-q"]) == Exit.USAGE
    assert "stages.2.sparsify: " in capsys.readouterr().err


def test_one_stage_or_none_is_in_order() -> None:
    assert misplaced(()) is None
