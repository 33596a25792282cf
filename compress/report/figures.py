"""Which charts a report has, and what each of them shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from compress.report import charts, pruning, units
from compress.report.comparison import Entry
from compress.report.records import each, number, numbers, text
from compress.report.report import Report

COLORS: Final = ("c1", "c2", "c3", "c4")  # of charts and of the table's keys
_LABELED: Final = 5  # tensors that the chart of noise names


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart and what it shows."""

    caption: str
    svg: str


def scatter(found: tuple[Entry, ...]) -> Iterator[Figure]:
    """Accuracy against latency, for the models where both are known."""
    marks = [
        charts.Mark(
            label=f"{entry.label} ({units.size(entry.size_bytes)})",
            color=COLORS[index % len(COLORS)],
            x=entry.p50_ms,
            y=entry.top1 * 100,
            size=entry.size_bytes or 1.0,
        )
        for index, entry in enumerate(found)
        if entry.p50_ms is not None and entry.top1 is not None
    ]
    if len(marks) > 1:
        svg = charts.scatter(
            marks,
            x="latency (p50), ms",
            y="top-1, %",
        )
        caption = "Accuracy against latency; the area of a disc is the model's size."
        yield Figure(caption=caption, svg=svg)


def curves(report: Report) -> Iterator[Figure]:
    """Loss and accuracy by epoch, a line a stage."""
    stages = list(dict.fromkeys(text(point, "stage") for point in report.curves))
    for key, label, factor in (("top1", "top-1, %", 100.0), ("loss", "loss", 1.0)):
        lines = []
        for index, stage in enumerate(stages):
            points = tuple(
                (epoch, value * factor)
                for point in report.curves
                if text(point, "stage") == stage
                and (epoch := number(point, "epoch")) is not None
                and (value := number(point, key)) is not None
            )
            if len(points) > 1:
                color = COLORS[(index + 1) % len(COLORS)]
                lines.append(charts.Line(label=stage, color=color, points=points))
        if lines:
            svg = charts.curves(
                lines,
                x="epoch",
                y=label,
                zero=key == "loss",
            )
            what = "Held-out accuracy" if key == "top1" else "Training loss"
            yield Figure(caption=f"{what} by epoch.", svg=svg)


def widths(report: Report) -> Iterator[Figure]:
    """How many channels each layer had, and has."""
    if found := pruning.widths(report):
        svg = charts.dumbbells(found, x="first layer of each group", y="channels")
        caption = "Channels of every group that may be cut, before and after."
        yield Figure(caption=caption, svg=svg)


def noise(report: Report) -> Iterator[Figure]:
    """How noisy each tensor is, in the order of the graph."""
    tensors = each(report.quantisation, "operators")
    values = [number(tensor, "sqnr_db") for tensor in tensors]
    known = [(value, at) for at, value in enumerate(values) if value is not None]
    if len(known) > 1:
        worst = [at for _, at in sorted(known)[:_LABELED]]
        svg = charts.profile(
            values,
            {at: text(tensors[at], "name") for at in worst},
            x="tensor, in the order of the graph",
            y="SQNR, dB",
        )
        caption = "Signal to noise of every quantized tensor; the noisiest are named."
        yield Figure(caption=caption, svg=svg)


def histograms(report: Report) -> Iterator[Figure]:
    """How latencies are spread, a chart a file."""
    roles = [text(measurement, "role") for measurement in report.measurements]
    kinds = {
        text(artifact, "path").rpartition("/")[2]: " ".join(
            text(artifact, key) for key in ("role", "dtype", "format")
        )
        for artifact in report.artifacts
    }
    for index, measurement in enumerate(report.measurements):
        samples = numbers(measurement, "samples_ns")
        if len(samples) < 2:  # noqa: PLR2004  # one sample has no spread
            continue
        path = text(measurement, "path")
        name = roles[index] or path
        if roles.count(name) > 1:  # several files of one network
            name = kinds.get(path, path)
        marks = [number(measurement, f"{key}_ms") for key in ("p50", "p90", "p99")]
        svg = charts.histogram(
            [sample / 1e6 for sample in samples],
            label=name,
            color=COLORS[index % len(COLORS)],
            marks=[mark for mark in marks if mark is not None],
        )
        caption = f"{len(samples)} inferences of {path or name}."
        yield Figure(caption=caption, svg=svg)
