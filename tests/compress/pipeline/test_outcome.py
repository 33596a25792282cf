"""What stages found: joined for the report, written by the runner, and read back."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import pytest

from compress.cli.main import main
from compress.context.records import Record
from compress.models.stage_result import KINDS, Findings, Kind
from compress.pipeline.outcome import findings_of
from compress.pipeline.rows import Row
from runtime.errors import Exit

RECIPE = """\
name: thinner
model: lenet5
data: "folder:{data}"
stages:
  - prune: {{ratio: 0.4, epochs: 0, recover: none, calib_images: 8, round_to: 1}}
  - prune: {{ratio: 0.4, epochs: 0, recover: none, calib_images: 8, round_to: 1}}
  - factorize: {{energy: 0.5, epochs: 0, calib_images: 8, round_to: 4}}
  - sparsify: {{sparsity: 0.3, epochs: 0}}
  - sparsify: {{sparsity: 0.6, epochs: 0}}
  - ptq: {{calib_images: 8}}
"""
SEVERAL = ("01-prune", "02-prune")


@pytest.fixture(scope="module")
def folder(
    draw_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Where a run of the recipe lies, of whose stages two are there twice."""
    place = tmp_path_factory.mktemp("thinner")
    data = draw_folder(place / "data")
    (place / "recipe.yaml").write_text(RECIPE.format(data=data))
    assert carried_out(place) == Exit.FIT
    return place


def carried_out(place: Path) -> int:
    """Run the recipe there; the exit code."""
    words = (str(place / "recipe.yaml"), "--out", str(place / "run"))
    return main(["run", *words])


def report_of(place: Path) -> dict[str, dict[str, object]]:
    """What report.json holds."""
    found = json.loads((place / "run" / "report.json").read_text())
    return cast("dict[str, dict[str, object]]", found)


def record_of(place: Path, stage: str, kind: Kind) -> dict[str, object]:
    """What the runner wrote of a stage."""
    found = json.loads((place / "run" / stage / f"{kind}.json").read_text())
    return cast("dict[str, object]", found)


def widths_of(record: Mapping[str, object], end: str) -> dict[str, int]:
    """Channels "before" or "after", by the first layer of their group."""
    groups = cast("list[dict[str, object]]", record["groups"])
    return {str(group["name"]): cast("int", group[end]) for group in groups}


def test_two_cuts_are_told_as_one_from_the_first_widths_to_the_last(
    folder: Path,
) -> None:
    """LeNet-5 begins with 6 and 16 maps, 120 and 84 units; both stages took some."""
    first, second = (record_of(folder, stage, "pruning") for stage in SEVERAL)
    found = report_of(folder)["pruning"]

    began, ended = widths_of(found, "before"), widths_of(found, "after")
    assert list(began.values()) == [6, 16, 120, 84]
    assert began == widths_of(first, "before")
    assert ended == widths_of(second, "after")
    middle = widths_of(second, "before")
    assert middle == widths_of(first, "after")
    assert sum(began.values()) > sum(middle.values()) > sum(ended.values())
    for count in ("macs", "params"):
        one, two = (cast("list[int]", each[count]) for each in (first, second))
        assert found[count] == [one[0], two[1]]
        assert one[1] == two[0]
    assert len(cast("list[object]", found["steps"])) == 2


def test_of_two_stages_that_thin_the_last_tells_of_the_network(folder: Path) -> None:
    found = report_of(folder)["sparsity"]

    assert found == unsealed(record_of(folder, "05-sparsify", "sparsity"))
    assert found != unsealed(record_of(folder, "04-sparsify", "sparsity"))


def unsealed(record: dict[str, object]) -> dict[str, object]:
    """A record as the stage gave it, without the digest that the runner added."""
    from runtime.files import SEAL

    return {key: value for key, value in record.items() if key != SEAL}


def test_a_run_that_goes_on_reads_back_what_its_stages_found(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped before its report, it does no stage again and says the same of each."""
    before = report_of(folder)
    (folder / "run" / "report.json").unlink()

    assert carried_out(folder) == Exit.FIT

    assert capsys.readouterr().err.count("done earlier, taken from there") == 6
    again = report_of(folder)
    for kind in KINDS:
        assert again[kind], kind
        assert again[kind] == before[kind], kind


def rows(*found: tuple[Kind, Record]) -> list[Row]:
    """As much of the rows of stages as tells what they found."""
    return [
        Row(
            name="prune",
            model=None,  # type: ignore[arg-type]  # not looked at
            record={},
            findings=Findings(kind=kind, record=record),
        )
        for kind, record in found
    ]


def cut(name: str, before: int, after: int, **fields: object) -> tuple[Kind, Record]:
    """A record of a stage that cut one group."""
    group = {"name": name, "before": before, "after": after}
    told = {"macs": [before, after], "params": [before, after], "groups": [group]}
    return "pruning", {**told, "removed": [], "steps": [{}], **fields}


def test_a_group_that_one_cut_alone_may_touch_keeps_its_line() -> None:
    """Blocks that went in either are gone; how it was done is told of the last."""
    found = findings_of(
        rows(
            cut("a", 16, 8, removed=["x"], criterion="l1"),
            cut("b", 32, 24, removed=["y"], criterion="l2"),
        )
    )["pruning"]

    assert widths_of(found, "before") == {"a": 16, "b": 32}
    assert widths_of(found, "after") == {"a": 8, "b": 24}
    assert (found["removed"], found["criterion"]) == (["x", "y"], "l2")


def test_a_layer_that_was_split_first_stays_in_the_list() -> None:
    """Each with what was chosen for it last."""
    one = {"layers": [{"name": "a", "ranks": [3]}, {"name": "b", "ranks": []}]}
    two = {"layers": [{"name": "b", "ranks": [5]}], "latency": None}

    found = findings_of(rows(("factorisation", one), ("factorisation", two)))

    layers = cast("list[dict[str, object]]", found["factorisation"]["layers"])
    assert {layer["name"]: layer["ranks"] for layer in layers} == {"a": [3], "b": [5]}


def test_what_no_stage_found_is_empty() -> None:
    assert findings_of([]) == {kind: {} for kind in KINDS}
