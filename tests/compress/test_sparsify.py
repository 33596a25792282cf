"""`sparsify` and `factorize` as a user runs them: what they write, what they refuse."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.cli.main import main
from compress.models.checkpoint import load_model
from compress.recipe.stages import STAGES, keeps_answers
from compress.sparsity.goal import weights_of, zeros_in
from runtime.errors import Exit

pytestmark = pytest.mark.usefixtures("own_cache")

NET = ("--model", "lenet5")


@pytest.fixture(scope="module")
def data(
    draw_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Four classes that a network tells apart at a glance."""
    return draw_folder(tmp_path_factory.mktemp("images"))


def report_of(folder: Path) -> dict[str, list[dict[str, object]]]:
    """What the run found."""
    record: dict[str, list[dict[str, object]]] = json.loads(
        (folder / "report.json").read_text()
    )
    return record


def test_a_sparse_run_tells_what_its_zeros_are_worth(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file of the dense network beside it; both packed, both timed."""
    words = ("--data", str(data), "--sparsity", "0.9", "--schedule", "one-shot")
    run = tmp_path / "run"

    code = main(["sparsify", *NET, *words, "--epochs", "1", "-q", "--out", str(run)])

    # Whether a fresh network learns enough in an epoch is not the point here.
    assert code in {Exit.FIT, Exit.BUDGET}
    found = report_of(run)
    assert found["sparsity"]["zeros"] / found["sparsity"]["weights"] == pytest.approx(  # type: ignore[call-overload]
        0.9, abs=1e-3
    )
    dense, sparse = found["artifacts"]
    assert (dense["role"], sparse["role"]) == ("start", "model")
    assert sparse["gzip_bytes"] < 0.35 * dense["gzip_bytes"]  # type: ignore[operator]
    assert {each["role"] for each in found["measurements"]} == {"start", "model"}
    told = " ".join(capsys.readouterr().out.split())
    assert "90.0" in told
    assert "weights are zero (unstructured)" in told
    assert "no gain in latency: ONNX Runtime and LiteRT multiply by zeros" in told
    model = load_model(run / "01-sparsify")
    assert zeros_in(weights_of(model.net).values()) == found["sparsity"]["zeros"]  # type: ignore[call-overload]
    assert set(model.surgery.masked.values()) == {"unstructured"}


def test_a_factorized_run_names_what_it_split_and_what_it_left(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data", str(data), "--energy", "0.5", "--round-to", "2")
    run = tmp_path / "run"

    code = main(["factorize", *NET, *words, "-q", "--out", str(run)])

    assert code == Exit.FIT
    found = report_of(run)
    layers: list[dict[str, object]] = found["factorisation"]["layers"]  # type: ignore[call-overload]
    assert {each["name"] for each in layers} >= {"c1", "f6"}
    assert all(bool(each["ranks"]) != bool(each["reason"]) for each in layers)
    model = load_model(run / "01-factorize")
    assert set(model.surgery.factorised) == {
        each["name"] for each in layers if each["ranks"]
    }
    told = " ".join(capsys.readouterr().out.split())
    assert f"of {len(layers)} layers are products of thinner ones" in told


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("sparsify", "--sparsity", "1.5"),
            "--sparsity: found 1.5, which should be less than 1",
        ),
        (
            ("sparsify", "--sparsity", "0"),
            "--sparsity: found 0.0, which should be greater than 0",
        ),
        (("sparsify", "--pattern", "3:4"), "--pattern: invalid choice"),
        (
            ("sparsify", "--schedule", "cosine"),
            "--schedule: invalid choice",
        ),
        (
            ("sparsify",),
            "give either a sparsity, such as 0.8, or a pattern",
        ),
        (
            ("sparsify", "--sparsity", "0.5", "--pattern", "2:4"),
            "--pattern: found '2:4', which is wrong: give either a sparsity",
        ),
        (
            ("sparsify", "--sparsity", "0.5", "--protect", "nowhere"),
            "spare: no layer 'nowhere' with weights; known: c1, ",
        ),
        (
            ("factorize",),
            "give either an energy, such as 0.9, or a latency",
        ),
        (
            ("factorize", "--energy", "2"),
            "--energy: found 2.0, which should be less than 1",
        ),
        (
            ("factorize", "--energy", "0.5", "--layers", "nowhere"),
            "layers: 'nowhere' is, or holds, no layer that can be split; known: c1, ",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_refused_in_one_sentence(
    words: tuple[str, ...],
    sentence: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert (
        main([*words, *NET, "--data", str(data), "-q", "--out", str(out)]) == Exit.USAGE
    )
    told = capsys.readouterr().err
    assert told.startswith("compress: ")
    assert told.count("\n") == 1
    assert sentence in told


def test_an_empty_calibration_set(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    words = ("--data", str(data), "--energy", "0.5", "--calib", f"{tmp_path}/none")
    out = str(tmp_path / "out")
    assert main(["factorize", *NET, *words, "-q", "--out", out]) == Exit.REJECTED
    assert "holds no images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "fields", "trains_it"),
    [
        ("finetune", {}, True),
        ("sparsify", {"sparsity": 0.5}, True),
        ("sparsify", {"sparsity": 0.5, "epochs": 0}, False),
        ("factorize", {"energy": 0.5}, False),
        ("factorize", {"energy": 0.5, "epochs": 1}, True),
        ("qat", {}, False),
        ("ptq", {}, False),
    ],
)
def test_only_what_trains_may_learn_other_classes(
    name: str, fields: dict[str, object], trains_it: object
) -> None:
    """A network that is only thinned or split keeps its head, whatever the data."""
    stage = STAGES[name](**fields)
    assert keeps_answers(name, stage) is not trains_it
