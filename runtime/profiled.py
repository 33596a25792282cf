"""The answer of `profile`, for scripts and for people."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from runtime.errors import Exit
from runtime.findings import findings, pictures
from runtime.measurement import Comparison, Measurement
from runtime.printable import folded, printable
from runtime.scaling import scaling

_NAME: Final = 34
_NUMBER: Final = 9


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The answer: measurements, and comparisons if they were asked for.

    forced: invalid measurements were asked to be kept, with their doubts; cores: what
    the process was pinned to.
    """

    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...] = ()
    forced: bool = False
    cores: tuple[int, ...] = ()

    @property
    def exit_code(self) -> Exit:
        """7 where a measurement is invalid, and was not asked to be kept."""
        invalid = any(each.faults() for each in self.measurements)
        return Exit.DEVICE if invalid and not self.forced else Exit.FIT

    def as_json(self) -> str:
        """{measurements[…], comparisons[{a, b, ratio, low, high}]}, one document."""
        record = {
            "measurements": [each.as_record() for each in self.measurements],
            "comparisons": [each.as_record() for each in self.comparisons],
            "forced": self.forced,
            "cores": list(self.cores),
        }
        return json.dumps(record, indent=2, sort_keys=True)

    def as_text(self) -> str:
        """A table, what was asked for beside it, doubts, the machine; 80 columns."""
        # What a file is called is up to whoever named it.
        measurements = [
            replace(each, file=printable(each.file)) for each in self.measurements
        ]
        sentences = [
            f"{replace(each, a=printable(each.a), b=printable(each.b)).as_text()}."
            for each in self.comparisons
        ]
        short = [replace(each, file=_short(each.file)) for each in measurements]
        sentences += [*findings(short), *scaling(measurements)]
        sentences += self._judged(measurements)
        first = measurements[0]
        state = first.conditions.as_text() if first.conditions else ""
        if self.cores:
            sentences.append(f"Pinned to cores {', '.join(map(str, self.cores))}.")
        sentences.append(f"Machine: {first.machine.as_text()}{state and f'; {state}'}.")
        lines = [*_table(measurements), "", *pictures(short)]
        for sentence in sentences:
            lines += folded(sentence)
        return "\n".join(lines)

    def _judged(self, measurements: Sequence[Measurement]) -> list[str]:
        """Faults and doubts, and what becomes of the faults."""
        faults = {fault for each in measurements for fault in each.faults()}
        word = "Doubt" if self.forced else "Invalid"
        found = [
            f"{word if doubt in faults else 'Doubt'}{about}: {doubt}."
            for doubt, about in _about(measurements)
        ]
        if faults and not self.forced:
            found.append(
                "This measurement is invalid: measure again, or keep it with its doubt "
                "by --force."
            )
        return found


def _table(measurements: Sequence[Measurement]) -> list[str]:
    """Four lines a file: the numbers, their intervals, how they came about."""
    lines = [_row("file", ["p50 ms", "p90 ms", "p99 ms", "load ms", "peak MB"])]
    lines.append("-" * len(lines[0]))
    for each in measurements:
        percentiles = (each.p50, each.p90, each.p99)
        times = [ns.scaled(1e-6) for ns in percentiles if ns is not None]
        if not times or each.load_ms is None:
            lines += [_row(each.file, ["refused"] * 3), _how(each)]
            continue
        peak = "?" if each.memory is None else f"{each.memory.peak_rss_bytes / 1e6:.1f}"
        load = f"{each.load_ms:.1f}"
        lines += [
            _row(each.file, [*(f"{ms.value:.3f}" for ms in times), load, peak]),
            _row("  95 % sure: at least", [f"{ms.low:.3f}" for ms in times]),
            _row("             at most", [f"{ms.high:.3f}" for ms in times]),
            _how(each),
        ]
    return lines


def _row(name: str, cells: Sequence[str]) -> str:
    """One line: a name and numbers."""
    numbers = "".join(cell.rjust(_NUMBER) for cell in cells)
    return (_short(name).ljust(_NAME) + numbers).rstrip()


def _short(name: str) -> str:
    """Of a name that is too long the end is shown, where names differ."""
    return name if len(name) <= _NAME else "…" + name[1 - _NAME :]


def _how(measurement: Measurement) -> str:
    """How often, with what and with how many threads."""
    threads = f"{measurement.threads} thread{'s' * (measurement.threads != 1)}"
    rest = f"{measurement.runtime}, {threads}"
    if not measurement.samples_ns:
        return f"  it runs; not timed, {rest}"
    long = measurement.long
    if long is not None:
        runs = sum(each.runs for each in long.windows)
        return f"  {long.mode}: {runs} runs in {long.seconds:.1f} s, {rest}"
    return (
        f"  {len(measurement.samples_ns)} runs after {len(measurement.warmup_ns)} of "
        f"warm-up, {rest}"
    )


def _about(measurements: Sequence[Measurement]) -> list[tuple[str, str]]:
    """Every doubt once, with the files that it is about unless that is all of them."""
    about: dict[str, list[str]] = {}
    for each in measurements:
        for doubt in each.doubts():
            about.setdefault(doubt, []).append(_short(each.file))
    everything = len(measurements)
    return [
        (doubt, "" if len(files) == everything else f" about {', '.join(files)}")
        for doubt, files in about.items()
    ]
