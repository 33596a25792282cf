"""The answer of `profile`, for scripts and for people."""

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from runtime.errors import Exit
from runtime.measurement import Comparison, Measurement
from runtime.printable import printable

_COLUMNS: Final = 80  # of the terminal that everything fits into
_NAME: Final = 34
_NUMBER: Final = 9


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The answer: measurements, and comparisons if they were asked for."""

    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...] = ()
    exit_code: int = Exit.FIT

    def as_json(self) -> str:
        """{measurements[…], comparisons[{a, b, ratio, low, high}]}, one document."""
        record = {
            "measurements": [each.as_record() for each in self.measurements],
            "comparisons": [each.as_record() for each in self.comparisons],
        }
        return json.dumps(record, indent=2, sort_keys=True)

    def as_text(self) -> str:
        """A table, the comparisons, the doubts, and the machine; 80 columns."""
        # What a file is called is up to whoever named it.
        measurements = [
            replace(each, file=printable(each.file)) for each in self.measurements
        ]
        sentences = [
            f"{replace(each, a=printable(each.a), b=printable(each.b)).as_text()}."
            for each in self.comparisons
        ]
        sentences += _doubts(measurements)
        machine = measurements[0].machine
        sentences.append(f"Machine: {machine.as_text()}.")
        lines = [*_table(measurements), ""]
        for sentence in sentences:
            lines += textwrap.wrap(
                sentence,
                _COLUMNS,
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        return "\n".join(lines)


def _table(measurements: Sequence[Measurement]) -> list[str]:
    """Four lines a file: the numbers, their intervals, how they came about."""
    native = all(each.kind == "native" for each in measurements)
    unit = "ms" if native else "ms*"
    heads = [f"p50 {unit}", f"p90 {unit}", f"p99 {unit}", "load ms", "peak MB"]
    lines = [_row("file", heads)]
    lines.append("-" * len(lines[0]))
    for each in measurements:
        times = [ns.scaled(1e-6) for ns in (each.p50, each.p90, each.p99)]
        peak = "?" if each.memory is None else f"{each.memory.peak_rss_bytes / 1e6:.1f}"
        load = f"{each.load_ms:.1f}"
        lines += [
            _row(each.file, [*(f"{ms.value:.3f}" for ms in times), load, peak]),
            _row("  95 % sure: at least", [f"{ms.low:.3f}" for ms in times]),
            _row("             at most", [f"{ms.high:.3f}" for ms in times]),
            _how(each),
        ]
    if not native:
        lines.append("  * emulated: not the latency of any device")
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
    return (
        f"  {len(measurement.samples_ns)} runs after {len(measurement.warmup_ns)} of "
        f"warm-up, {measurement.runtime}, {measurement.threads} "
        f"thread{'s' * (measurement.threads != 1)}"
    )


def _doubts(measurements: Sequence[Measurement]) -> list[str]:
    """Every doubt once, with the files that it is about."""
    about: dict[str, list[str]] = {}
    for each in measurements:
        for doubt in each.doubts():
            about.setdefault(doubt, []).append(_short(each.file))
    everything = len(measurements)
    return [
        f"Doubt: {doubt}."
        if len(files) == everything
        else f"Doubt about {', '.join(files)}: {doubt}."
        for doubt, files in about.items()
    ]
