"""What measurements found beside percentiles: sentences and pictures in characters."""

from collections.abc import Iterator, Sequence

from runtime import roofline, timeline
from runtime.layer_times import layer_table
from runtime.measurement import Measurement


def findings(measurements: Sequence[Measurement]) -> list[str]:
    """Sentences about phases, long runs, energy and peaks; each names its file."""
    found: list[str] = []
    for each in measurements:
        if each.answers is not None:
            found.append(f"Self-test of {each.answers}.")
        parts = [part.as_text() for part in (each.start, each.edges) if part]
        if parts:
            found.append(f"{each.file}: {', '.join(parts)}.")
        found += [f"{each.file}: {sentence}." for sentence in _of_long(each)]
        if each.energy is not None:
            found.append(f"{each.file}: {each.energy.as_text()}.")
    roofs = [each.roofline for each in measurements if each.roofline]
    for peaks in dict.fromkeys(each.peaks for each in roofs):
        found.append(f"Roofline: {peaks.as_text()}.")
    return found


def pictures(measurements: Sequence[Measurement]) -> list[str]:
    """Latency over time of long runs, slow layers, the roofline; with blank lines."""
    lines: list[str] = []
    for each in measurements:
        if each.long is not None:
            lines += [f"{each.file}:", *timeline.plot(each.long.windows), ""]
        if each.layers is not None:
            lines += [*layer_table(each.layers, most=12).splitlines(), ""]
    rows = [
        (each.file, each.roofline, each.p50_ms)
        for each in measurements
        if each.roofline is not None
    ]
    if rows:
        lines += [*roofline.table(rows), ""]
    return lines


def _of_long(found: Measurement) -> Iterator[str]:
    """The percentile that counts, and whether the machine kept its pace."""
    run = found.long
    if run is None:
        return
    if run.early_stopping is not None and run.mode == "certified":
        stop = run.early_stopping
        yield (
            f"p90 by MLPerf's early stopping: {stop.estimate_ns / 1e6:.3f} ms "
            f"({stop.queries} queries, {stop.over} of them at or above it)"
        )
    seen = timeline.course(run.windows)
    if seen.verdict == "steady":  # the others are faults, and are told as such
        yield seen.as_text()
