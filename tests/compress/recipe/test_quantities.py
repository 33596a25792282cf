"""Limits with units: flags, recipes and the schema read the same and say the same."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from compress.cli.arguments import Parser
from compress.cli.main import main
from compress.cli.verbs import prune
from compress.cli.verbs.one_stage import MODEL, recipe_of
from compress.context.validation import keys_of, record_from
from compress.recipe.prune import Prune
from compress.recipe.quantities import Given
from compress.recipe.recipe import Export, Limits, Recipe
from compress.recipe.stages import STAGES
from runtime.errors import Exit, RecipeError


def marked() -> Iterator[tuple[str, str, Given]]:
    """Every key of a recipe that takes units: its record, its name, its unit."""
    for kind in (Limits, Export, *STAGES.values()):
        for key, field in kind.model_fields.items():  # type: ignore[attr-defined]
            for mark in field.metadata:
                if isinstance(mark, Given):
                    yield kind.__name__, key, mark


MARKED = list(marked())


def test_every_size_time_and_share_takes_units() -> None:
    """By its name, or by its help: a key that is forgotten shows here."""
    known = {(record, key) for record, key, _ in MARKED}
    for kind in (Limits, Export, *STAGES.values()):
        for key, field in kind.model_fields.items():  # type: ignore[attr-defined]
            told = field.description or ""
            if key.endswith(("_bytes", "_mb", "_ms")) or re.search(
                r"\bshare of|as a share|top-1 accuracy", told
            ):
                assert (kind.__name__, key) in known, f"{kind.__name__}.{key}"


@pytest.mark.parametrize(("record", "key", "mark"), MARKED)
def test_the_schema_allows_the_texts_that_are_read(
    record: str, key: str, mark: Given
) -> None:
    """An editor that checks recipes by the schema does not underline `2%`."""
    node = Recipe.model_json_schema()["$defs"][record]["properties"][key]
    (text,) = [each for each in node["anyOf"] if each.get("type") == "string"]
    unit = next(iter(mark.quantity.factors))
    assert re.search(text["pattern"], f"2{unit}")
    assert not re.search(text["pattern"], "2 parsecs")


def by_flags(*words: str) -> Recipe:
    """The recipe that `compress prune` makes of flags."""
    parser = Parser(prog="compress prune")
    prune.add_arguments(parser)
    parser.add_argument("--seed")
    parser.add_argument("--device", default="cpu")
    options = parser.parsed(["--model", "lenet5", *words])
    return recipe_of(options, stage="prune", name="r", model=MODEL)


def by_file(limits: Mapping[str, object], **stage: object) -> Recipe:
    """The same recipe as a file says it."""
    record = {
        "name": "r",
        "model": "lenet5",
        "stages": [{"prune": stage}],
        "budget": limits,
    }
    return record_from(Recipe, record, keys_of("r.yaml"))


@pytest.mark.parametrize(
    ("text", "flag", "key", "plain"),
    [
        ("2MB", "--size-bytes", "size_bytes", 2_000_000),
        ("2MiB", "--size-bytes", "size_bytes", 2_097_152),
        ("300 MB", "--peak-rss-bytes", "peak_rss_bytes", 300_000_000),
        ("2%", "--top1-drop", "top1_drop", 0.02),
        ("90%", "--top1-min", "top1_min", 0.9),
        ("1.5s", "--latency-ms", "latency_ms", 1500.0),
    ],
)
def test_a_limit_of_the_budget_is_one_in_any_unit(
    text: str, flag: str, key: str, plain: float
) -> None:
    """As a flag and in a file, with a unit and without: one recipe, one digest."""
    told = {
        by_flags("--ratio", "0.5", flag, text).digest(),
        by_flags("--ratio", "0.5", flag, str(plain)).digest(),
        by_file({key: text}, ratio=0.5).digest(),
        by_file({key: plain}, ratio=0.5).digest(),
    }
    assert len(told) == 1
    assert getattr(by_file({key: text}, ratio=0.5).limits(), key) == plain


@pytest.mark.parametrize(
    ("text", "flag", "key", "plain"),
    [
        ("40%", "--ratio", "ratio", 0.4),
        ("50 %", "--macs", "macs", 0.5),
        ("300M", "--macs", "macs", 300e6),
        ("1.2G", "--params", "params", 1.2e9),
        ("500kB", "--size-mb", "size_mb", 0.5),
        ("70%", "--latency", "latency", 0.7),
    ],
)
def test_an_option_of_a_stage_is_one_in_any_unit(
    text: str, flag: str, key: str, plain: float
) -> None:
    told = {
        by_flags(flag, text).digest(),
        by_flags(flag, str(plain)).digest(),
        by_file({}, **{key: text}).digest(),
        by_file({}, **{key: plain}).digest(),
    }
    assert len(told) == 1
    ((_, stage),) = by_file({}, **{key: text}).steps()
    assert getattr(stage, key) == plain


def test_the_limit_that_a_cut_is_for_may_have_a_unit() -> None:
    """`prune --latency-ms` is both the budget and what is cut for."""
    parser = Parser(prog="compress prune")
    prune.add_arguments(parser)
    parser.add_argument("--seed")
    parser.add_argument("--device", default="cpu")
    options = parser.parsed(["--model", "lenet5", "--latency-ms", "1.5s"])
    prune._cut_for_latency_(options)
    recipe = recipe_of(options, stage="prune", name="r", model=MODEL)
    ((_, stage),) = recipe.steps()
    assert isinstance(stage, Prune)
    assert stage.latency_ms == recipe.limits().latency_ms == 1500.0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--ratio", "0.5", "--size-bytes", "2 parsecs"), "--size-bytes: found '2 par"),
        (("--ratio", "0.5", "--top1-drop", "2ms"), "should be a share: a fraction, or"),
        (("--ratio", "0.5", "--top1-drop", "2"), "0 to 1, or a percentage such as 2%"),
        (("--ratio", "0.5", "--latency-ms", "2MB"), "--latency-ms: found '2MB', which"),
        (("--ratio", "two"), "--ratio: found 'two', which should be a share: a fract"),
        (("--ratio", "120%"), "--ratio: found "),
        (("--size-mb", "2ms"), "--size-mb: found '2ms', which should be a size: 10^6"),
        (("--latency", "15ms"), "--latency: found '15ms', which should be a share"),
        (("--macs", "50"), "should be a share below 1, such as 0.5 or 50%, or so many"),
        (("--macs", "5MB"), "--macs: found '5MB', which should be a share or a count"),
    ],
    ids=str,
)
def test_a_wrong_unit_is_one_sentence(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["prune", "--model", "lenet5", "--data", "folder:/no/such", *words]
    assert main(given) == Exit.USAGE
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("words", [("--accuracy-drop", "1MB"), ("--flips", "1 ms")])
def test_the_doctors_limits_are_shares(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quantize", "--model", "lenet5", *words]) == Exit.USAGE
    flag, value = words
    assert f"{flag}: found {value!r}, which should be a share" in (
        capsys.readouterr().err
    )


def test_a_wrong_unit_in_a_recipe_names_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    stages = "stages: [{finetune: {}}, {ptq: {flips: 1MB}}]"
    path.write_text(f"name: r\nmodel: lenet5\n{stages}\n")
    assert main(["run", str(path)]) == Exit.USAGE
    told = capsys.readouterr().err
    assert f"{path}: stages.1.ptq.flips: found '1MB', which should be a share" in told


def test_help_does_not_call_a_fraction_points(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["quantize", "--help"]) == Exit.FIT
    told = " ".join(capsys.readouterr().out.split())
    assert "--top1-drop SHARE top-1 accuracy that may be lost, such as 0.02 or 2%" in (
        told
    )
    assert "points" not in told


def test_numbers_of_another_type_are_still_refused() -> None:
    """A text is read; a list or a truth value is not."""
    for wrong in (True, [1], {"a": 1}):
        with pytest.raises(RecipeError, match=r"r\.yaml: budget\.size_bytes: found"):
            by_file({"size_bytes": wrong}, ratio=0.5)
