"""Who is compared with whom in a report, and by how much one is lighter."""

from dataclasses import dataclass
from typing import Final, Literal

from compress.context.records import Record, each, inner, number, share, text
from compress.report.record import RunRecord
from runtime.intervals import wilson

Part = Literal["before", "after", "other"]

# Rows that are neither what a run began with nor what it made: rivals.
_RIVALS: Final = ("alone",)
_MOST_IMAGES: Final = 1e15  # whole numbers beyond are none that a float tells apart
# Roles of the files that a run made.
_MADE: Final = ("student", "model")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model in the final table; None is not known.

    size_bytes: of its file where it has one, else of its weights.
    """

    label: str
    model: str
    part: Part
    top1: float | None  # fraction
    top1_interval: tuple[float, float] | None  # 95 %
    top5: float | None  # fraction
    params: float | None
    macs: float | None
    size_bytes: float | None
    weight_bytes: float | None
    file_bytes: float | None
    p50_ms: float | None
    measurement: Record


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What the last stage has against the model the run began with.

    Ratios are before / after, so more is better; low and high bound the speed-up where
    both were measured in turn (95 %).
    """

    top1_change: float | None  # fraction
    params: float | None
    macs: float | None
    size: float | None
    speed: float | None
    speed_low: float | None
    speed_high: float | None


def entries(report: RunRecord) -> tuple[Entry, ...]:
    """The models of the final table: before, every stage, rivals.

    "Before" is the teacher if there is one. An untaught student is left out then: the
    accuracy of fresh weights says nothing.
    """
    names = [text(row, "stage") for row in report.rows]
    taught = "teacher" in names
    stages = [name for name in names if name not in ("teacher", "start", *_RIVALS)]
    found = []
    for place, (row, name) in enumerate(zip(report.rows, names, strict=True)):
        if name == "start" and taught and stages:
            continue
        before = name == ("teacher" if taught else "start")
        last = bool(stages) and name == stages[-1]
        part: Part = "before" if before and stages else "after" if last else "other"
        label = "student" if last and taught and len(stages) == 1 else name
        if not stages and name == "start":
            part, label = "after", "model"
        measured: Record = {}
        weights, file = number(row, "size_bytes"), None
        if name not in names[place + 1 :]:  # of two stages of a name the last has files
            measured = _measured(report, part, label)
            file = _file_bytes(report, part, label, number(row, "params"))
        found.append(
            Entry(
                label=label,
                model=text(row, "model") or _model(report, name),
                part=part,
                top1=number(row, "top1"),
                top1_interval=interval(row),
                top5=number(row, "top5"),
                params=number(row, "params"),
                macs=number(row, "macs"),
                size_bytes=weights if file is None else file,
                weight_bytes=weights,
                file_bytes=file,
                p50_ms=number(measured, "p50_ms"),
                measurement=measured,
            )
        )
    rank = {"before": 0, "other": 1, "after": 1}
    return tuple(
        sorted(found, key=lambda entry: (rank[entry.part], entry.label in _RIVALS))
    )


def gain(report: RunRecord) -> Gain | None:
    """The last stage against the beginning; None where nothing was changed."""
    parts = {entry.part: entry for entry in entries(report)}
    before, after = parts.get("before"), parts.get("after")
    if before is None or after is None:
        return None
    speed, low, high = _speed(report, before, after)
    return Gain(
        top1_change=(
            after.top1 - before.top1
            if after.top1 is not None and before.top1 is not None
            else None
        ),
        params=_ratio(before.params, after.params),
        macs=_ratio(before.macs, after.macs),
        # Like with like: a file holds more than its weights.
        size=_ratio(before.file_bytes, after.file_bytes)
        or _ratio(before.weight_bytes, after.weight_bytes),
        speed=speed,
        speed_low=low,
        speed_high=high,
    )


def interval(row: Record) -> tuple[float, float] | None:
    """What top-1 on images like these is with 95 %; None where that is not known."""
    top1, images = share(row, "top1"), number(row, "images") or 0
    if top1 is None or not 1 <= images < _MOST_IMAGES:
        return None
    return wilson(top1, int(images))


def _file_bytes(
    report: RunRecord, part: Part, label: str, params: float | None
) -> float | None:
    """The size of an entry's file, in the format of what the run made.

    A stage between need not have one; as many parameters in float32 take as much.
    """
    made = next((a for a in report.artifacts if text(a, "role") in _MADE), {})
    alike = [f for f in report.artifacts if text(f, "format") == text(made, "format")]
    own = _MADE if part == "after" else (label,)
    found = [file for file in alike if text(file, "role") in own]
    if not found:
        same = {
            text(row, "stage") for row in report.rows if number(row, "params") == params
        }
        last = text(report.rows[-1], "stage") if report.rows else ""
        same |= set(_MADE) if last in same else set()
        found = [
            file
            for file in alike
            if text(file, "role") in same and text(file, "dtype") == "float32"
        ]
    return number(found[0], "size_bytes") if found else None


def _measured(report: RunRecord, part: Part, label: str) -> Record:
    """The latency of an entry; the file of a run's result is `student` or `model`.

    Of several it is the one to ship.
    """
    roles = _MADE if part == "after" else (label,)
    found = [each for each in report.measurements if text(each, "role") in roles]
    ship = {text(each, "path").rpartition("/")[2] for each in report.ship}
    shipped = [each for each in found if text(each, "path") in ship]
    return next(iter((*shipped, *found)), {})


def _model(report: RunRecord, stage: str) -> str:
    """What the recipe calls the model of a row."""
    if stage == "teacher":
        for step in each(report.recipe, "stages"):
            teacher = inner(inner(step, "distill"), "teacher")
            if name := text(teacher, "name"):
                return name
    return text(inner(report.recipe, "model"), "name")


def _ratio(before: float | None, after: float | None) -> float | None:
    """Before / after, where both are known."""
    return before / after if before is not None and after else None


def _speed(
    report: RunRecord, before: Entry, after: Entry
) -> tuple[float | None, float | None, float | None]:
    """The speed-up and its bounds; files timed in turn beat two medians."""
    names = text(before.measurement, "path"), text(after.measurement, "path")
    for comparison in report.comparisons:
        ratio, low, high = (number(comparison, key) for key in ("ratio", "low", "high"))
        if not (ratio and low and high):
            continue
        pair = text(comparison, "a"), text(comparison, "b")
        if pair == names:
            return ratio, low, high
        if pair == names[::-1]:
            return 1 / ratio, 1 / high, 1 / low
    return _ratio(before.p50_ms, after.p50_ms), None, None
