"""Predictions from an inference that was counted by hand, and what is refused."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from compress import cli
from compress.prediction import predict
from compress.prediction.asked import check_predicted
from compress.prediction.boards import BOARDS, CALIBRATION, board, calibrations
from compress.prediction.counting import Count
from compress.prediction.cycles import Llvm
from compress.prediction.laps import Operator, Runs, instructions
from compress.recipe import Recipe, read_recipe
from runtime.budget import Budget, Spent
from runtime.errors import MissingDependencyError, RecipeError
from runtime.files import read_json

CONV, ADD = ("aa",) * 10, ("bb",)
OPERATORS = (
    Operator(name="Conv", runs={CONV: 90}),
    Operator(name="Add", runs={ADD: 60}),
    Operator(name="Conv", runs={CONV: 10}),
)
ARTIFACT = SimpleNamespace(path=Path("net.tflite"), sha256="00", format="tflite")


@pytest.fixture
def counted_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 instructions of convolutions, 60 of an addition, 40 of the interpreter."""

    def counted(_: Path, *, cpu: str) -> Count:
        whole = {CONV: 100, ADD: 100}
        runtime = "ai-edge-litert 2.3.0"
        return Count(cpu=cpu, runtime=runtime, whole=whole, operators=OPERATORS)

    def cycles(runs: list[Runs], **_: object) -> list[float]:
        return [2_000.0 * instructions(each) for each in runs]

    monkeypatch.setattr(predict, "counted", counted)
    monkeypatch.setattr(predict, "cycles", cycles)
    monkeypatch.setattr(predict, "installed", lambda: [Llvm("22.1.8", "", "")])


class Silent:
    """A voice that says nothing."""

    def tell(self, sentence: str) -> None:
        """Say nothing."""


@pytest.mark.usefixtures("counted_by_hand")
def test_milliseconds_are_cycles_by_the_clock_times_the_board_s_one_factor() -> None:
    """2,000 cycles each of 1,100 instructions at 2.4 GHz are 0.9167 ms."""
    found = predict.predicted(ARTIFACT, BOARDS["rpi5"], Silent())  # type: ignore[arg-type]

    known = calibrations("rpi5")["22"]
    assert found.predicted_ms == pytest.approx(known.factor * 2.2 / 2.4)
    assert found.error == known.error
    assert found.instructions == 1_100


@pytest.mark.usefixtures("counted_by_hand")
def test_operators_and_the_interpreter_itself_add_up_to_the_whole() -> None:
    """By kind, the dearest first; what is no operator comes last."""
    found = predict.predicted(ARTIFACT, BOARDS["rpi4"], Silent())  # type: ignore[arg-type]

    assert [(e.operator, e.times, e.instructions) for e in found.by_operator] == [
        ("Conv", 2, 1_000),
        ("Add", 1, 60),
        ("LiteRT itself", 1, 40),
    ]
    total_ms = sum(each.predicted_ms for each in found.by_operator)
    assert total_ms == pytest.approx(found.predicted_ms)
    assert len(found.operators) == 3


@pytest.mark.usefixtures("counted_by_hand")
def test_a_prediction_is_never_called_a_latency() -> None:
    """Neither in the record, at any depth, nor in the table without its error."""
    found = predict.predicted(ARTIFACT, BOARDS["rpi5"], Silent())  # type: ignore[arg-type]
    answer = predict.Predictions(predictions=(found,))

    record = json.loads(answer.as_json())

    assert "latency_ms" not in answer.as_json()
    assert record["predictions"][0]["kind"] == "predicted"
    assert {"predicted_ms", "error", "core", "ghz", "instructions"} <= set(
        record["predictions"][0]
    )
    assert "predicted, ±" in answer.as_text()
    assert max(map(len, answer.as_text().splitlines())) <= 80


def test_factors_come_from_a_script_that_is_named_with_its_source() -> None:
    """And are judged on networks that they were not fitted on."""
    record = read_json(CALIBRATION)
    boards = record["boards"]

    assert Path(__file__).parents[3].joinpath(str(record["made_by"])).is_file()
    assert "NobuoTsukamoto" in str(record["source"])
    assert isinstance(boards, dict)
    assert set(boards) == set(BOARDS)
    records = [
        (calibrations(name)[major], each)
        for name, found in boards.items()
        for major, each in found.items()
    ]
    for known, each in records:
        held_out = [abs(case["error"]) for case in each["held_out"]]
        fitted = " ".join(each["fitted_on"])
        assert known.error == pytest.approx(np.mean(held_out), abs=1e-4)
        assert known.worst == pytest.approx(max(held_out), abs=1e-4)
        assert not any(case["net"] in fitted for case in each["held_out"])


def test_an_unknown_board_is_refused_with_those_that_are_known() -> None:
    """As flag, in a recipe, and as a budget."""
    with pytest.raises(RecipeError, match=r"rpi9.*known: rpi4, rpi5"):
        board("rpi9")
    with pytest.raises(RecipeError, match=r"rpi9.*known: rpi4, rpi5"):
        check_predicted(Budget(predicted_ms=1.0, predicted_target="rpi9"), ("tflite",))


def test_everything_that_is_missing_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line to type."""
    monkeypatch.setattr(predict, "installed", list)
    monkeypatch.setattr(predict, "lacking", lambda: ["qemu-user", "gcc"])

    with pytest.raises(
        MissingDependencyError, match="apt-get install qemu-user gcc llvm-19"
    ):
        predict.check_installed()


@pytest.mark.parametrize(
    "flag",
    [
        *("--compare", "--roofline", "--threads=2", "--classify", "--layers"),
        *("--cores=0", "--runs=5", "--seed=1", "--device=pi5", "--mode=certified"),
    ],
)
def test_flags_of_measurements_are_refused(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the file is looked for."""
    code = cli.main(["profile", "no.tflite", "--as", "rpi5", flag])

    assert code == 2
    assert f"leave out {flag.partition('=')[0]}" in capsys.readouterr().err


RECIPE = """
model: resnet18
name: r
data: digits
export: {to: [%s]}
budget: {%s}
"""


def recipe(tmp_path: Path, budget: str, to: str = "tflite") -> Budget:
    """The limits of a recipe file."""
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE % (to, budget), encoding="utf-8")
    return read_recipe(path).limits()


def test_a_budget_is_set_on_a_prediction_only_by_saying_so(tmp_path: Path) -> None:
    """A plain latency is measured; neither is ever held against the other."""
    asked = recipe(tmp_path, "latency_ms: {predicted: 20ms, target: rpi5}")
    plain = recipe(tmp_path, "latency_ms: 20ms")
    predicted = Spent(predicted_ms=10.0, predicted_for="rpi5, ±13 %")

    assert (asked.predicted_ms, asked.predicted_target) == (20.0, "rpi5")
    assert asked.latency_ms is None
    assert not asked.violations(predicted)
    assert "predicted for rpi5, ±13 %" in asked.checks(predicted)[0].sentence
    assert asked.violations(Spent(latency_ms=10.0))
    assert plain.violations(predicted)


@pytest.mark.parametrize(
    ("budget", "to", "told"),
    [
        ("latency_ms: {predicted: 20ms}", "tflite", "target: rpi5"),
        ("latency_ms: {predicted: soon, target: rpi5}", "tflite", "milliseconds"),
        ("latency_ms: {predicted: 20ms, target: rpi9}", "tflite", "rpi9"),
        ("latency_ms: {predicted: 20ms, target: rpi5}", "onnx", "add tflite"),
        ("predicted_ms: 20", "tflite", "needs a limit and a board"),
        (
            "latency_ms: {predicted: 20ms, target: rpi5}, predicted_ms: 3ms",
            *("tflite", "asked for twice"),
        ),
    ],
)
def test_what_no_prediction_can_keep_is_refused_before_any_work(
    budget: str, to: str, told: str, tmp_path: Path
) -> None:
    """As one sentence."""
    with pytest.raises(RecipeError, match=told):
        recipe(tmp_path, budget, to)


def test_the_schema_of_recipes_knows_a_prediction_as_it_is_written() -> None:
    """An editor that checks by it takes what the documentation shows."""
    limits = Recipe.model_json_schema()["$defs"]["Limits"]["properties"]
    *plain, nested = limits["latency_ms"]["anyOf"]
    assert (
        plain
        == limits["predicted_ms"]["anyOf"]
        == nested["properties"].pop("predicted")["anyOf"]
    )
    assert nested["properties"] == {"target": {"type": "string"}}
    assert nested["required"] == ["predicted", "target"]
