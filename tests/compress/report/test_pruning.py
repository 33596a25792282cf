"""What a report says and shows of what was cut."""

import dataclasses
from pathlib import Path

import pytest
import report_example

from compress.report import charts, pruning
from compress.report.report import Report

WIDTHS = {"stem": (64, 64), "body.<0>": (256, 96), "head": (1024, 512)}


def example(**fields: object) -> Report:
    """The invented report of a run that pruned by latency."""
    report: Report = report_example.example(Path("run"))
    record = {
        "criterion": "l2",
        "recover": "lstsq",
        "removed": ["layer1.1"],
        "macs": [100_000_000, 40_000_000],
        "params": [2_000_000, 1_000_000],
        "groups": [
            {"name": name, "before": before, "after": after}
            for name, (before, after) in WIDTHS.items()
        ],
        "latency": {
            "share": 0.5, "wanted_ms": 2.0, "predicted_ms": 1.9, "whole_ms": 4.0,
        },
    }  # fmt: skip
    made = {
        "pruning": record,
        "artifacts": tuple(
            {**a, "role": r}
            for a, r in zip(report.artifacts, ("start", "model"), strict=True)
        ),
        "measurements": tuple(
            {**m, "role": r, "p50_ms": ms, "artifact_sha256": a["sha256"]}
            for m, a, r, ms in zip(
                report.measurements,
                report.artifacts,
                ("start", "model"),
                (4.1, 2.2),
                strict=True,
            )
        ),
    }
    return dataclasses.replace(report, **(made | fields))  # type: ignore[arg-type]


def test_the_table_has_what_was_and_what_is_left() -> None:
    """Ratios computed here by hand; the latency both foretold and measured."""
    found = pruning.table(example())

    assert found is not None
    assert {row[0]: row[1:] for row in found.rows} == {
        "MACs": ("100 M", "40.0 M", "40.00 %"),
        "parameters": ("2.00 M", "1.00 M", "50.00 %"),
        "channels that may be cut": ("1.34 k", "672", "50.00 %"),
        "latency as predicted": ("4.00 ms", "1.90 ms", "47.50 %"),
        "latency as measured": ("4.10 ms", "2.20 ms", "53.66 %"),
    }
    assert found.remarks == (
        "2 of 3 groups of channels are thinner (criterion l2, recovery lstsq)",
        "thinned most: body.<0> (256 to 96), head (1024 to 512)",
        "residual blocks that are gone: layer1.1",
    )


def test_every_form_tells_it() -> None:
    """Text in sentences, Markdown in a table, the page in a table and a chart."""
    report = example()

    assert "pruned   left: 40.00 % of the MACs, 50.00 % of the parameters" in (
        report.as_text()
    )
    markdown = report.as_markdown()
    assert "## Pruning" in markdown
    assert "| latency as predicted | 4.00 ms | 1.90 ms | 47.50 % |" in markdown
    assert "- **pruned**" not in markdown
    page = report.as_html()
    assert "<h2>Pruning</h2>" in page
    assert "thinned most: body.&lt;0&gt; (256 to 96)" in page
    assert "Channels of every group that may be cut" in page


def test_a_report_without_a_cut_says_nothing_of_it() -> None:
    report = example(pruning={})
    assert pruning.table(report) is None
    assert "Pruning" not in report.as_markdown()
    assert "<h2>Pruning</h2>" not in report.as_html()


@pytest.mark.parametrize("count", [1, 61])
def test_the_chart_names_layers_as_long_as_they_fit(count: int) -> None:
    """Of more than 60, every second one."""
    pairs = [(f"layer{index}.conv", 64.0, 32.0) for index in range(count)]
    svg = charts.dumbbells(pairs, x="layer", y="channels")
    assert [f"layer{index}.conv" in svg for index in range(count)] == [
        index % 2 == 0 or count == 1 for index in range(count)
    ]
