"""What was cut out of a network, as a report tells it: sentences, and a table."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from compress.context.records import (
    Record,
    each,
    inner,
    number,
    numbers,
    sentences,
    text,
)
from compress.report import units
from compress.report.columns import cut, piped
from compress.report.int8_tables import LETTERS, Table, listed
from compress.report.record import RunRecord

IN_TABLES: Final = ("pruned",)  # the notes that Markdown and the page have as a table


def notes(report: RunRecord) -> Iterator[tuple[str, str]]:
    """A word and a sentence each, for a terminal; nothing where nothing was cut."""
    found = table(report)
    if found is None:
        return
    left = ", ".join(f"{row[-1]} of the {row[0]}" for row in found.rows)
    yield "pruned", f"left: {left}"
    for remark in found.remarks:
        yield "pruned", remark


def markdown(report: RunRecord) -> list[str]:
    """A section of a Markdown page, empty where nothing was cut."""
    found = table(report)
    if found is None:
        return []
    lines = ["## Pruning", "", *piped(found.heads, found.rows, names=found.names), ""]
    return [*lines, *(f"- {remark}" for remark in found.remarks), ""]


def table(report: RunRecord) -> Table | None:
    """What there was and what is left of it; None where nothing was cut."""
    record = report.pruning
    groups = widths(report)
    if not groups:
        return None
    channels = [sum(group[1] for group in groups), sum(group[2] for group in groups)]
    asked = inner(record, "latency")
    foretold = [number(asked, key) or 0.0 for key in ("whole_ms", "predicted_ms")]
    rows = [
        _row("MACs", numbers(record, "macs"), units.count),
        _row("parameters", numbers(record, "params"), units.count),
        _row("channels that may be cut", channels, units.count),
    ]
    if asked:
        rows.append(_row("latency as predicted", foretold, units.milliseconds))
    if measured := _measured(report):
        rows.append(_row("latency as measured", measured, units.milliseconds))
    return Table(
        title="What is left",
        heads=("", "before", "after", "left"),
        rows=tuple(rows),
        remarks=tuple(_remarks(record, groups)),
    )


def widths(report: RunRecord) -> list[tuple[str, int, int]]:
    """Channels before and after, of every group that might be cut, by first layer."""
    return [
        (text(group, "name"), int(before), int(after))
        for group in each(report.pruning, "groups")
        if (before := number(group, "before")) and (after := number(group, "after"))
    ]


def _remarks(record: Record, groups: Sequence[tuple[str, int, int]]) -> Iterator[str]:
    """How it was done, and where most went."""
    thinner = [group for group in groups if group[2] < group[1]]
    yield (
        f"{len(thinner)} of {len(groups)} groups of channels are thinner (criterion "
        f"{text(record, 'criterion')}, recovery {text(record, 'recover')})"
    )
    thinner.sort(key=lambda group: group[2] / group[1])
    if thinner:
        told = [f"{cut(name, LETTERS)} ({a} to {b})" for name, a, b in thinner]
        yield f"thinned most: {listed(told)}"
    if spared := sentences(record, "spared"):
        names = listed([cut(name, LETTERS) for name in spared])
        yield f"kept whole, since answers depend most on them: {names}"
    if removed := sentences(record, "removed"):
        yield f"residual blocks that are gone: {', '.join(removed)}"


def _row(
    what: str, pair: Sequence[float], shown: Callable[[float | None], str]
) -> tuple[str, ...]:
    """A line of the table."""
    before, after = pair if len(pair) == 2 else (None, None)  # noqa: PLR2004  # a pair
    left = after / before if before and after is not None else None
    return (what, shown(before), shown(after), units.percent(left))


def _measured(report: RunRecord) -> tuple[float, float] | None:
    """Median latencies of the float files before and after, ms; None if unknown."""
    floats = {
        text(artifact, "sha256")
        for artifact in report.artifacts
        if text(artifact, "dtype") == "float32"
    }
    found = {
        text(measured, "role"): number(measured, "p50_ms")
        for measured in report.measurements
        if text(measured, "artifact_sha256") in floats
    }
    found.pop("teacher", None)
    before = found.pop("start", None)
    after = next(reversed(found.values()), None)
    return None if before is None or after is None else (before, after)
