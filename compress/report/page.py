"""A report as one HTML page that needs nothing else: no network, no script."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compress.report import charts, figures, int8, int8_tables, limits, pruning, units
from compress.report.comparison import Gain, entries, gain, interval
from compress.report.printed import notes, ratios, subject
from compress.report.records import (
    Record,
    inner,
    number,
    sentences,
    text,
)
from compress.report.report import Report
from runtime.errors import Exit, MissingDependencyError
from runtime.requirements import pip_line

_TEMPLATE: Final = Path(__file__).with_name("report.html.jinja")
_BADGES: Final = {
    Exit.FIT: "good",
    Exit.BUDGET: "warn",
    Exit.PARITY: "bad",
    Exit.REJECTED: "bad",
}
# Beside the table and the charts these say nothing new.
_SHOWN_ELSEWHERE: Final = (
    *int8.IN_TABLES,
    *pruning.IN_TABLES,
    "report",
    "verdict",
    "next",
    "file",
    "proof",
    "doubt",
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """What one kind of compression did: charts as wide as the page, then tables."""

    title: str
    figures: tuple[figures.Figure, ...]
    tables: tuple[int8_tables.Table, ...]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A number that a reader should not miss."""

    number: str
    meaning: str
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """The file to take: where it is from the page, what it is, how to look at it."""

    target: str
    reason: str
    path: str
    size: str
    sha256: str
    command: str


def page(report: Report) -> str:
    """The whole page, without charts if matplotlib is missing; all is escaped."""
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"report.html: needs {error.name}, which is not installed; "
            f"run: {pip_line('report')}"
        ) from error
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # The charts escape their own texts; all else is escaped by the template.
    environment.filters["drawn"] = Markup
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    found = entries(report)
    drawing = charts.available()
    gained = gain(report)
    return template.render(
        subject=subject(report),
        name=report.name,
        verdict=report.verdict.partition(": ")[0],
        missed=_missed(report),
        ship=tuple(_shipped(report)),
        made=tuple(_made(report.made)),
        limits=tuple(limits.rows(report)),
        limit_heads=limits.HEADS,
        badge=_BADGES[Exit(report.exit_code)],
        headlines=tuple(_headlines(report, gained)) if gained else (),
        entries=found,
        ratios=ratios(gained) if gained else (),
        doubts=report.doubts,
        notes=[note for note in notes(report) if note[0] not in _SHOWN_ELSEWHERE],
        figures=(*figures.scatter(found), *figures.curves(report)) if drawing else (),
        int8=int8 if int8.shown(report) else None,
        sections=tuple(_sections(report, drawing=drawing)),
        histograms=tuple(figures.histograms(report)) if drawing else (),
        rows=report.rows,
        artifacts=report.artifacts,
        measurements=report.measurements,
        machine=tuple(_facts(report.machine)),
        recipe=json.dumps(report.recipe, indent=2),
        next=report.next,
        units=units,
        interval=interval,
        number=number,
        text=text,
        inner=inner,
        sentences=sentences,
    )


def _missed(report: Report) -> tuple[str, ...]:
    """What keeps the run from being fit, a sentence each."""
    refused = (f"{text(e, 'file')}: {text(e, 'reason')}" for e in report.refused)
    return (*report.failures, *refused, *report.violations)


def _shipped(report: Report) -> Iterator[Shipped]:
    """Each file to ship, with what one needs to fetch and to check it."""
    for chosen in report.ship:
        path = text(chosen, "path")
        file = next(iter([e for e in report.artifacts if text(e, "path") == path]), {})
        yield Shipped(
            target=text(chosen, "target"),
            reason=text(chosen, "reason"),
            path=path,
            size=units.size(number(file, "size_bytes")),
            sha256=text(file, "sha256"),
            command=f"python -m runtime {path}",
        )


def _made(record: Record) -> Iterator[tuple[str, str]]:
    """When and by what the report was made."""
    for key in ("date", "command", "version", "revision"):
        if value := text(record, key):
            yield key, value


def _headlines(report: Report, found: Gain) -> Iterator[Headline]:
    """What was won, what it cost, and what there is to doubt about it."""
    doubts = tuple(
        f"{text(each, 'path')}: {doubt}"
        for each in report.measurements
        for doubt in sentences(each, "doubts")
    )
    in_int8 = next(filter(int8.is_int8, report.artifacts), None)
    kept = in_int8 is not None and found.macs == 1
    for ratio, meaning in (
        (found.speed, "faster"),
        (found.size, "smaller"),
        (None if kept or (found.macs or 0) < 1.01 else found.macs, "fewer operations"),  # noqa: PLR2004  # as many
    ):
        if ratio is not None:
            weak = doubts if meaning == "faster" else ()
            yield Headline(number=units.times(ratio), meaning=meaning, doubts=weak)
    if in_int8 is not None:
        yield Headline(number=int8.share(in_int8), meaning="of the operations in INT8")
    if found.top1_change is not None:
        yield Headline(
            number=units.points(found.top1_change),
            meaning="top-1 accuracy",
            doubts=tuple(_unsure(report)),
        )


def _unsure(report: Report) -> Iterator[str]:
    """How sure the change in accuracy is."""
    for entry in entries(report):
        if entry.part == "after" and entry.top1_interval is not None:
            now = units.spread(entry.top1_interval)
            yield f"now {now}, with 95 % on images like these"


def _sections(report: Report, *, drawing: bool) -> Iterator[Section]:
    """Pruning and INT8, each where there is something to show."""
    cut, quantized = pruning.table(report), tuple(int8_tables.tables(report))
    for title, drawn, tables in (
        ("Pruning", figures.widths, () if cut is None else (cut,)),
        ("INT8", figures.noise, quantized if int8.shown(report) else ()),
    ):
        made = tuple(drawn(report)) if drawing else ()
        if made or tables:
            yield Section(title=title, figures=made, tables=tables)


def _facts(machine: Record) -> Iterator[tuple[str, str]]:
    """The machine as words."""
    for key, value in machine.items():
        if value is None or value in ((), [], {}):
            continue
        if key == "memory_bytes":
            yield "memory", units.size(number(machine, key))
        elif isinstance(value, dict):
            yield key, ", ".join(f"{name} {entry}" for name, entry in value.items())
        elif isinstance(value, list | tuple):
            yield key, ", ".join(map(str, value))
        else:
            yield key, str(value)
