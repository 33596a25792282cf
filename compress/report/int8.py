"""What INT8 changed, as a report tells it: sentences, and the forms of the tables."""

from collections.abc import Iterator
from typing import Final

from compress.report import units
from compress.report.columns import aligned, cut, piped, rule, width, wrapped
from compress.report.int8_tables import (
    LETTERS,
    Table,
    decibels,
    flips_of,
    float_rows,
    ladder,
    listed,
    noisiest,
    tables,
)
from compress.report.records import Record, each, inner, number, sentences, text
from compress.report.report import Report

# Words of notes that Markdown and the page show as tables instead.
IN_TABLES: Final = ("int8", "float")
ALL_INT8: Final = "all in INT8"  # what `export/placement.py` calls it


def shown(report: Report) -> bool:
    """Whether there is anything in INT8 to speak of."""
    return bool(report.quantisation) or any(map(is_int8, report.artifacts))


def is_int8(artifact: Record) -> bool:
    """Whether a file computes in INT8."""
    return text(artifact, "dtype") == "int8"


def notes(report: Report) -> Iterator[tuple[str, str]]:
    """A word and a sentence each, for a terminal."""
    verdict = inner(report.quantisation, "int8")
    if (flips := flips_of(verdict)) is not None:
        sqnr = number(verdict, "sqnr_db")
        noise = "" if sqnr is None else f", SQNR {decibels(sqnr)}"
        images = units.count(number(verdict, "images"))
        of = "the" if images == units.NOTHING else images
        what = f"{of} answers changed"
        if text(verdict, "counted") == "variance":  # of a single output
            what = "the answer's variance lost"
        yield "int8", f"{units.percent(flips)} of {what} against float32{noise}"
    if told := noisiest(report):
        yield "int8", told
    for artifact in filter(is_int8, report.artifacts):
        placed = placement(artifact)
        name = text(artifact, "path").rpartition("/")[2]
        macs = f"{share(artifact)} of the multiply-accumulates in INT8"
        parts = [macs, own_answers(artifact), placed]
        yield "int8", f"{name}: {'; '.join(filter(None, parts))}"
    found = [
        f"{cut(name, LETTERS)} ({cut(operator, LETTERS)}, {macs} of the MACs)"
        for name, operator, macs in float_rows(report)
    ]
    if found:
        yield "float", listed(found)


def own_answers(artifact: Record) -> str:
    """What a file on grids of its own target changed; empty where it has none."""
    found = inner(artifact, "against_float32") if inner(artifact, "grids") else {}
    if (alike := number(found, "argmax_agreement")) is None:
        return ""
    of = units.count(number(found, "images"))
    noise = decibels(number(found, "sqnr_db"))
    changed = f"{units.percent(1 - alike)} of {of} answers changed, SQNR {noise}"
    return f"grids of its own: {changed}"


def printed(report: Report) -> Iterator[str]:
    """The ladder for a terminal; nothing where there is none."""
    table = ladder(report)
    if table is None:
        return
    heads, *rows = aligned([("ladder", *table.heads[1:]), *table.rows])
    yield from (heads, rule(), *rows, rule())
    for remark in table.remarks:
        yield from wrapped(remark, width())


def markdown(report: Report) -> list[str]:
    """A section of a Markdown page, empty where nothing is in INT8."""
    if not shown(report):
        return []
    lines = ["## INT8", ""]
    for table in (*tables(report), *_files(report)):
        lines += [f"### {table.title}", ""]
        lines += [*piped(table.heads, table.rows, names=table.names), ""]
        if table.remarks:
            lines += [*(f"- {remark}" for remark in table.remarks), ""]
    return lines


def placement(artifact: Record) -> str:
    """What of an INT8 file is float because that is faster; empty if nobody looked.

    The candidate that was chosen comes first; ratios are float32's time over its own.
    """
    record = inner(artifact, "placement")
    if record.get("measured") is False:
        return "nothing was timed, since this machine is not the target"
    left = len(sentences(record, "left_float"))
    candidates = each(record, "candidates")
    nodes = f"{left} node{'' if left == 1 else 's'} in float"
    if not candidates or number(candidates[0], "latency_ms") is None:
        return f"{nodes}, which is faster" if left else ""
    chosen = candidates[0]
    name = cut(text(chosen, "name"), LETTERS)
    parts = [f"{nodes} ({name})" if left else "nothing in float"]
    parts[0] += f": {units.milliseconds(number(chosen, 'latency_ms'))}"
    if (ratio := number(chosen, "ratio")) is not None:
        parts.append(f"{units.times(ratio)} as fast as float32")
    whole = [other for other in candidates if text(other, "name") == ALL_INT8]
    if left and whole and (ratio := number(whole[0], "ratio")) is not None:
        parts.append(f"{ALL_INT8} {units.times(ratio)}")
    if record.get("float_wins") is True:
        parts.append("so float32 is better")
    return ", ".join(parts)


def share(artifact: Record) -> str:
    """The share of a file's multiply-accumulates that are in INT8."""
    if not is_int8(artifact):
        return units.NOTHING
    return units.percent(number(artifact, "int8_macs_fraction"))


def _files(report: Report) -> Iterator[Table]:
    """Every file beside its kind; the page has them in its own table."""
    if not report.artifacts:
        return
    rows, remarks = [], []
    for artifact in report.artifacts:
        parity = inner(artifact, "parity")
        name = text(artifact, "path").rpartition("/")[2]
        rows.append(
            (
                name,
                text(artifact, "dtype") or units.NOTHING,
                text(artifact, "target") or units.NOTHING,
                share(artifact),
                units.percent(number(parity, "argmax_agreement")),
                units.count(number(parity, "images")),
                decibels(number(parity, "sqnr_db")),
            )
        )
        if placed := placement(artifact):
            remarks.append(f"{name}: {placed}")
        if equal := text(artifact, "proven_by"):
            remarks.append(
                f"{name}: proven by its equal for {equal}, the same weights and grids "
                "stored as the kernels of this machine read them"
            )
    heads = ("file", "dtype", "target", "INT8 MACs", "same answer", "images", "SQNR")
    yield Table(
        title="Files",
        heads=heads,
        rows=tuple(rows),
        names=3,
        remarks=tuple(remarks),
    )
