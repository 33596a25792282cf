"""A report as plain text for a terminal, and as Markdown."""

from collections.abc import Iterable, Iterator
from typing import Final

from compress.report import factorisation, int8, limits, pruning, sparsity, units
from compress.report.columns import aligned, piped, rule, width, wrapped
from compress.report.comparison import Entry, Gain, entries, gain
from compress.report.records import Record, inner, number, sentences, text
from compress.report.report import Report

_HEADS: Final = ("top-1", "params", "MACs", "size", "latency")
_WORD: Final = 8  # columns of the words in front of the notes
_COPIED: Final = ("file", "report", "next", "ship")


def printed(report: Report) -> str:
    """The verdict and what it rests on, then the table, the proof, the files."""
    parts = (
        wrapped(title(report), width()),
        _told(verdicts(report)),
        limits.printed(report),
        _table(report),
        int8.printed(report),
        _told(notes(report)),
    )
    return "\n\n".join(told for part in parts if (told := "\n".join(part)))


def markdown(report: Report) -> str:
    """The same for a repository or a pull request, and every row of the costs_of."""
    lines = [f"# {title(report)}", "", f"**{report.verdict}**", ""]
    lines += [f"- **{word}**: {note}" for word, note in verdicts(report)][1:]
    lines += ["", *limits.markdown(report)]
    rows = [_cells(entry) for entry in entries(report)]
    lines += piped(("", "model", *_HEADS), rows, names=2)
    if found := gain(report):
        lines[-1:] = [
            lines[-1],
            f"| **before / after** | | {' | '.join(ratios(found))} |",
        ]
    in_tables = (*int8.IN_TABLES, *pruning.IN_TABLES)
    told = [note for note in notes(report) if note[0] not in in_tables]
    lines += ["", *(f"- **{word}**: {note}" for word, note in told), ""]
    lines += pruning.markdown(report)
    lines += int8.markdown(report)
    heads = ("stage", "parameters", "MACs", "size", "top-1", "top-5", "activations",
             "one training image", "time")  # fmt: skip
    costs_of = [
        (
            text(row, "stage"),
            units.count(number(row, "params")),
            units.count(number(row, "macs")),
            units.size(number(row, "size_bytes")),
            units.percent(number(row, "top1")),
            units.percent(number(row, "top5")),
            units.size(number(row, "activation_bytes")),
            units.size(number(row, "training_bytes")),
            # What the run was given took it no time, which is no measurement.
            units.seconds(number(row, "seconds") or None),
        )
        for row in report.rows
    ]
    lines += ["## Every stage", "", *piped(heads, costs_of), ""]
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


def verdicts(report: Report) -> Iterator[tuple[str, str]]:
    """What a reader wants to know first: the verdict, and which file to ship."""
    yield "verdict", report.verdict
    for each in report.ship:
        yield "ship", str(report.folder / text(each, "path"))
        yield "for", f"{text(each, 'target')}: {text(each, 'reason')}"


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
        if proof := _proof(artifact):
            yield "proof", proof
    yield from int8.notes(report)
    yield from pruning.notes(report)
    yield from sparsity.notes(report)
    yield from factorisation.notes(report)
    if measured := _circumstances(report):
        yield "latency", measured
    for reason in report.doubts:
        yield "doubt", reason
    for measurement in report.measurements:
        for doubt in sentences(measurement, "doubts"):
            yield "doubt", f"{text(measurement, 'path')}: {doubt}"
    for sentence in report.advice:
        yield "advice", sentence
    for artifact in report.artifacts:
        path = report.folder / text(artifact, "path")
        yield "file", f"{units.size(number(artifact, 'size_bytes'))}  {path}"
    yield "report", str(report.folder / "report.html")
    if report.next:
        yield "next", report.next


def _table(report: Report) -> Iterator[str]:
    """Models above each other, and what the last one has over the first."""
    found = entries(report)
    rows = [_cells(entry) for entry in found]
    gained = gain(report)
    names = {entry.part: entry.label for entry in found}
    label = max((len(row[0]) for row in rows), default=0)
    named = [(f"{row[0]:<{label}}  {row[1]}", *row[2:]) for row in rows]
    if gained:
        named.append((f"{names['before']} / {names['after']}", *ratios(gained)))
    heads, *lines = aligned([("", *_HEADS), *named])
    yield from (heads, rule(), *lines[: len(rows)], rule(), *lines[len(rows) :])


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


def _told(notes: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Notes, wrapped behind their words; what one may copy stays on its line."""
    previous = ""
    for word, note in notes:
        lines = [note] if word in _COPIED else wrapped(note, width() - _WORD - 1)
        for index, line in enumerate(lines):
            shown = word if index == 0 and word != previous else ""
            yield f"{shown:<{_WORD}} {line}"
        previous = word


def _proof(artifact: Record) -> str:
    """What a file proved, and by what if not by itself."""
    parity = inner(artifact, "parity")
    if (images := number(parity, "images")) is None:
        return ""
    agreement, sqnr = number(parity, "argmax_agreement"), number(parity, "sqnr_db")
    noise = "bit-equal scores" if sqnr is None else f"SQNR {sqnr:.1f} dB"
    name = text(artifact, "path").rpartition("/")[2]
    if equal := text(artifact, "proven_by"):
        name = f"{name}, laid out again for {equal}, which runs here,"
    if agreement is None:
        return f"{name} gives the network's scores on {images:.0f} images, {noise}"
    return (
        f"{name} gives the network's answer on "
        f"{units.percent(agreement)} of {images:.0f} images, {noise}"
    )


def _circumstances(report: Report) -> str:
    """How latency was taken, and how sure the speed-up is."""
    if not report.measurements:
        return ""
    first = report.measurements[0]
    if text(first, "kind") == "emulated":
        return f"refused: {text(first, 'device')} was EMULATED, which has no latency"
    parts = [f"median (p50) of {number(first, 'runs') or 0:.0f} runs, one image"]
    parts += dict.fromkeys(text(each, "runtime") for each in report.measurements)
    threads = number(first, "threads") or 1
    parts.append(f"{threads:.0f} thread{'' if threads == 1 else 's'}")
    parts.append(text(first, "device"))
    found = gain(report)
    bounds = ""
    if found and found.speed_low is not None and found.speed_high is not None:
        bounds = (
            f"; 95 % sure of {units.times(found.speed_low)} "
            f"to {units.times(found.speed_high)}"
        )
    return ", ".join(part for part in parts if part) + bounds
