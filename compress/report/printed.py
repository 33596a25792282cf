"""A report as plain text for a terminal, and as Markdown."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from compress.report import units
from compress.report.contest import Entry, Gain, entries, gain
from compress.report.records import Record, inner, number, sentences, text
from compress.report.report import Report
from runtime.errors import Exit

WIDTH: Final = 80
_HEADS: Final = ("top-1", "params", "MACs", "size", "latency")
_WORD: Final = 8  # columns of the words in front of the notes
_COPIED: Final = ("file", "report", "next")


def printed(report: Report) -> str:
    """The table a run ends with, then the proof, the files, the verdict."""
    return "\n".join((title(report), "", *_table(report), "", *_notes(report)))


def markdown(report: Report) -> str:
    """The same for a repository or a pull request, and every row of the census."""
    lines = [f"# {title(report)}", "", f"**{verdict(report)}**", ""]
    lines += _piped(
        ("", "model", *_HEADS), [_cells(entry) for entry in entries(report)]
    )
    if found := gain(report):
        lines[-1:] = [
            lines[-1],
            f"| **before / after** | | {' | '.join(ratios(found))} |",
        ]
    lines += ["", *(f"- **{word}**: {note}" for word, note in notes(report)), ""]
    heads = ("stage", "parameters", "MACs", "size", "top-1", "top-5", "activations",
             "one training image", "time")  # fmt: skip
    census = [
        (
            text(row, "stage"),
            units.count(number(row, "params")),
            units.count(number(row, "macs")),
            units.size(number(row, "size_bytes")),
            units.percent(number(row, "top1")),
            units.percent(number(row, "top5")),
            units.size(number(row, "activation_bytes")),
            units.size(number(row, "training_bytes")),
            units.seconds(number(row, "seconds")),
        )
        for row in report.rows
    ]
    lines += ["## Every stage", "", *_piped(heads, census), ""]
    return "\n".join(lines)


def title(report: Report) -> str:
    """What was done, on which data."""
    return f"{report.name}: on {subject(report)}"


def subject(report: Report) -> str:
    """The data a run worked on."""
    train, val = (number(report.data, key) for key in ("train", "val"))
    split = [
        f"{count:.0f} {word}"
        for count, word in ((train, "to train"), (val, "to judge"))
        if count is not None
    ]
    inside = f" ({', '.join(split)})" if split else ""
    return f"{text(report.data, 'name') or 'no data'}{inside}"


def verdict(report: Report) -> str:
    """The exit code in words."""
    match report.exit_code:
        case Exit.PARITY:
            return "parity failed: " + "; ".join(report.failures)
        case Exit.BUDGET:
            return "budget missed: " + "; ".join(report.violations)
        case _:
            limits = inner(report.budget, "limits")
            return "fit to ship" + ("" if limits else " (no budget was set)")


def ratios(found: Gain) -> tuple[str, ...]:
    """The last line of the table."""
    return (
        units.points(found.top1_change),
        units.times(found.params),
        units.times(found.macs),
        units.times(found.size),
        units.times(found.speed),
    )


def notes(report: Report) -> Iterator[tuple[str, str]]:
    """What stands below the table: a word and a sentence each."""
    for artifact in report.artifacts:
        if proof := _proof(text(artifact, "path"), inner(artifact, "parity")):
            yield "proof", proof
    if measured := _circumstances(report):
        yield "latency", measured
    for measurement in report.measurements:
        for doubt in sentences(measurement, "doubts"):
            yield "doubt", f"{text(measurement, 'path')}: {doubt}"
    for artifact in report.artifacts:
        path = report.folder / text(artifact, "path")
        yield "file", f"{units.size(number(artifact, 'size_bytes'))}  {path}"
    yield "report", str(report.folder / "report.html")
    yield "verdict", verdict(report)
    if report.next:
        yield "next", report.next


def _table(report: Report) -> Iterator[str]:
    """Aligned columns: names to the left, numbers to the right."""
    found = entries(report)
    rows = [_cells(entry) for entry in found]
    gained = gain(report)
    names = {entry.part: entry.label for entry in found}
    last = ratios(gained) if gained else ()
    numbered = [_HEADS, *(row[2:] for row in rows), *([last] if last else [])]
    widths = [max(map(len, column)) for column in zip(*numbered, strict=True)]
    room = WIDTH - sum(widths) - 2 * len(widths)
    label = max((len(row[0]) for row in rows), default=0)

    def line(name: str, cells: tuple[str, ...]) -> str:
        short = name if len(name) <= room else name[: room - 1] + "…"
        numbers = (
            f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True)
        )
        return f"{short:<{room}}{''.join(numbers)}".rstrip()

    rule = "─" * WIDTH
    yield line("", _HEADS)
    yield rule
    for row in rows:
        yield line(f"{row[0]:<{label}}  {row[1]}", row[2:])
    yield rule
    if last:
        yield line(f"{names['before']} / {names['after']}", last)


def _cells(entry: Entry) -> tuple[str, ...]:
    """One line of the table."""
    return (
        entry.label,
        entry.model,
        units.percent(entry.top1),
        units.count(entry.params),
        units.count(entry.macs),
        units.size(entry.size_bytes),
        units.milliseconds(entry.p50_ms),
    )


def _notes(report: Report) -> Iterator[str]:
    """The notes, wrapped behind their words; what one may copy stays on its line."""
    previous = ""
    for word, note in notes(report):
        lines = [note] if word in _COPIED else _wrapped(note)
        for index, line in enumerate(lines):
            shown = word if index == 0 and word != previous else ""
            yield f"{shown:<{_WORD}} {line}"
        previous = word


def _wrapped(note: str) -> list[str]:
    """A note in lines, numbers kept with their units."""
    units_kept = re.sub(r"(?<=\d) (?=%|dB|MB|ms)", "\u00a0", note)
    lines = textwrap.wrap(
        units_kept, WIDTH - _WORD - 1, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\u00a0", " ") for line in lines]


def _proof(path: str, parity: Record) -> str:
    """What a file proved."""
    if number(parity, "argmax_agreement") is None:
        return ""
    agreement, images = number(parity, "argmax_agreement"), number(parity, "images")
    sqnr = number(parity, "sqnr_db")
    noise = "bit-equal scores" if sqnr is None else f"SQNR {sqnr:.1f} dB"
    return (
        f"{path.rpartition('/')[2]} gives the network's answer on "
        f"{units.percent(agreement)} of {images or 0:.0f} images, {noise}"
    )


def _circumstances(report: Report) -> str:
    """How latency was taken, and how sure the speed-up is."""
    if not report.measurements:
        return ""
    first = report.measurements[0]
    parts = [f"median (p50) of {number(first, 'runs') or 0:.0f} runs, one image"]
    parts.append(text(first, "runtime"))
    threads = number(first, "threads") or 1
    parts.append(f"{threads:.0f} thread{'' if threads == 1 else 's'}")
    parts.append(text(first, "device"))
    if text(first, "kind") == "emulated":
        parts.append("EMULATED: no latency of any device")
    found = gain(report)
    bounds = ""
    if found and found.speed_low is not None and found.speed_high is not None:
        bounds = (
            f"; 95 % sure of {units.times(found.speed_low)} "
            f"to {units.times(found.speed_high)}"
        )
    return ", ".join(part for part in parts if part) + bounds


def _piped(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A Markdown table; names to the left, numbers to the right."""
    marks = ["---" if head in ("", "model", "stage") else "---:" for head in heads]
    return [
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        for cells in (heads, tuple(marks), *rows)
    ]
