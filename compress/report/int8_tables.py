"""INT8 in tables: answers kept, the ladder, the noisiest tensors, what stays float."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from compress.report import units
from compress.report.columns import cut
from compress.report.records import Record, each, inner, number, sentences, text
from compress.report.report import Report

DIVERGED_DB: Final = 20.0  # below it a tensor no longer looks like its float sidecar
LETTERS: Final = 40  # of a name in a sentence
_NAMED: Final = 5  # things that a sentence lists
_WORST: Final = 10  # tensors that a table lists


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as people read them; the first `names` columns are words."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1
    remarks: tuple[str, ...] = ()


def tables(report: Report) -> Iterator[Table]:
    """What Markdown and the page show, in this order."""
    record = report.quantisation
    if inner(record, "int8"):
        told = noisiest(report)
        yield Table(
            title="Answers on held-out images",
            heads=("network", "top-1", "changed", "SQNR", "images"),
            rows=tuple(
                (
                    name,
                    units.percent(number(inner(record, name), "accuracy")),
                    units.percent(changed),
                    decibels(number(inner(record, name), "sqnr_db")),
                    units.count(number(inner(record, name), "images")),
                )
                for name, changed in (
                    ("float32", None),
                    ("int8", flips_of(inner(record, "int8"))),
                )
            ),
            remarks=(told,) if told else (),
        )
    if climbed := ladder(report):
        yield climbed
    if worst := by_noise(report)[:_WORST]:
        yield Table(
            title="Noisiest tensors",
            heads=("tensor", "operator", "range used", "range seen", "clipped", "SQNR"),
            rows=tuple(map(_tensor, worst)),
            names=2,
        )
    if floats := float_rows(report):
        more = len(floats) - _NAMED
        yield Table(
            title="Left in float",
            heads=("node", "operator", "share of the MACs"),
            rows=tuple(floats[:_NAMED]),
            names=2,
            remarks=(f"and {more} more",) if more > 0 else (),
        )


def ladder(report: Report) -> Table | None:
    """The rungs that the doctor climbed; None where it was not called."""
    rungs = each(report.quantisation, "rungs")
    if not rungs:
        return None
    return Table(
        title="Ladder",
        heads=("rung", "top-1", "lost", "changed", "SQNR", "time", "holds"),
        rows=tuple(
            (
                text(rung, "name"),
                units.percent(number(rung, "accuracy")),
                units.percent(number(rung, "drop")),
                units.percent(flips_of(rung)),
                decibels(number(rung, "sqnr_db")),
                units.seconds(number(rung, "seconds")),
                "yes" if rung.get("holds") is True else "no",
            )
            for rung in rungs
        ),
        remarks=tuple(_remarks(rungs)),
    )


def noisiest(report: Report) -> str:
    """The tensor with most noise, and where the noise begins; empty if unknown."""
    worst = next(iter(by_noise(report)), None)
    if worst is None:
        return ""
    told = f"noisiest tensor: {_named(worst)}"
    first = next(
        tensor
        for tensor in each(report.quantisation, "operators")
        if (noise := number(tensor, "sqnr_db")) is not None
        and (noise < DIVERGED_DB or tensor is worst)
    )
    if first is not worst:
        told += f"; the first below {DIVERGED_DB:.0f} dB: {_named(first)}"
    return told


def by_noise(report: Report) -> list[Record]:
    """Tensors whose noise was measured, the noisiest first."""
    known = [
        (noise, tensor)
        for tensor in each(report.quantisation, "operators")
        if (noise := number(tensor, "sqnr_db")) is not None
    ]
    return [tensor for _, tensor in sorted(known, key=lambda pair: pair[0])]


def float_rows(report: Report) -> list[tuple[str, str, str]]:
    """Name, operator and share of what stays float, the heaviest first."""
    found = sorted(
        each(report.quantisation, "float_operators"),
        key=lambda node: -(number(node, "macs_share") or 0.0),
    )
    return [
        (
            text(node, "name"),
            text(node, "operator") or "?",
            units.percent(number(node, "macs_share")),
        )
        for node in found
    ]


def flips_of(verdict: Record) -> float | None:
    """The share of answers that are not float32's."""
    flips, agreement = number(verdict, "flips"), number(verdict, "agreement")
    return 1 - agreement if flips is None and agreement is not None else flips


def decibels(value: float | None) -> str:
    """A ratio of signal to noise: 21.6 dB."""
    return units.NOTHING if value is None else f"{value:.1f} dB"


def listed(found: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(found) - _NAMED
    told = ", ".join(found[:_NAMED])
    return f"{told} and {more} more" if more > 0 else told


def _remarks(rungs: Sequence[Record]) -> Iterator[str]:
    """What each rung blames and what it leaves in float, a sentence a rung."""
    for rung in rungs:
        blames, floats = (
            listed([cut(name, LETTERS) for name in sentences(rung, key)])
            for key in ("blames", "left_float")
        )
        told = [f"blames {blames}"] if blames else []
        told += [f"leaves {floats} in float"] if floats else []
        if told:
            yield f"{cut(text(rung, 'name'), LETTERS)}: {'; '.join(told)}"


def _tensor(record: Record) -> tuple[str, ...]:
    """A line of the table of tensors."""
    return (
        text(record, "name"),
        text(record, "operator"),
        _between(number(record, "low"), number(record, "high")),
        _between(number(record, "seen_low"), number(record, "seen_high")),
        units.percent(number(record, "clipped")),
        decibels(number(record, "sqnr_db")),
    )


def _named(tensor: Record) -> str:
    """A tensor and its noise."""
    name = cut(text(tensor, "name"), LETTERS)
    return f"{name} ({decibels(number(tensor, 'sqnr_db'))})"


def _between(low: float | None, high: float | None) -> str:
    """A range: -1.23 to 4.56."""
    if low is None or high is None:
        return units.NOTHING
    return f"{units.three_digits(low)} to {units.three_digits(high)}"
