"""A fleet: the same files on several devices, one table, each failure a sentence.

The samples of a device go to a file as soon as they are here; what is held is a row.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compress.devices.device import Device
from compress.devices.names import is_here, listed
from compress.devices.together import together, worst
from compress.report.columns import aligned, rule, width, wrapped
from compress.report.units import milliseconds, size
from runtime.ending import kept_as_bug
from runtime.errors import EdgepressError, Exit
from runtime.files import file_name, write_text
from runtime.measurement import Measurement
from runtime.plan import Plan
from runtime.printable import printable
from runtime.profiled import Profile
from runtime.profiling import Voice

# Of a record; they are in the device's own file.
_SAMPLES: Final = ("samples_ns", "warmup_ns")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a device answered with, or why it did not.

    samples: the file with all of it, where one was asked for.
    """

    device: str
    measurements: tuple[Mapping[str, object], ...] = ()
    comparisons: tuple[str, ...] = ()
    samples: str | None = None
    error: str | None = None
    exit_code: int = Exit.FIT

    def as_record(self) -> dict[str, object]:
        """Plain data, for scripts."""
        return {
            "device": self.device,
            "measurements": list(self.measurements),
            "comparisons": list(self.comparisons),
            "samples": self.samples,
            "error": self.error,
            "exit_code": int(self.exit_code),
        }


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The answer: a row for each device, in the order in which they were named."""

    rows: tuple[Row, ...]

    @property
    def exit_code(self) -> int:
        """The worst of all."""
        return worst([row.exit_code for row in self.rows])

    def as_json(self) -> str:
        """{devices[{device, measurements[…], samples, error, exit_code}]}."""
        record = {"devices": [row.as_record() for row in self.rows]}
        return json.dumps(record, indent=2, sort_keys=True)

    def as_text(self) -> str:
        """The table, then comparisons, failures and doubts, a sentence each."""
        lines: list[tuple[str, ...]] = [_HEADS]
        lines += [
            _cells(row.device, each) for row in self.rows for each in row.measurements
        ]
        text = [*aligned(lines), rule()] if len(lines) > 1 else []
        sentences = [
            f"{row.device}: {each}" for row in self.rows for each in row.comparisons
        ]
        sentences += [f"{row.error}." for row in self.rows if row.error is not None]
        sentences += _about(self.rows, "faults", "Invalid")
        sentences += _about(self.rows, "doubts", "Doubt")
        reached = sum(row.error is None for row in self.rows)
        sentences.append(f"{reached} of {len(self.rows)} devices measured.")
        for sentence in sentences:
            text += wrapped(printable(sentence), width())
        return "\n".join(text)


_HEADS: Final = ("device, file", "p50", "p90", "p99", "load", "peak")


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What every device is asked; `out` is a folder for all the samples."""

    files: Sequence[Path]
    plan: Plan
    screen: Voice
    out: Path | None = None

    def on(self, name: str, device: Device) -> Row:
        """Measure on one device; what goes wrong there is its row."""
        try:
            profile = device.measure(self.files, self.plan, self.screen)
            samples = None if self.out is None else _kept(name, profile, self.out)
        except EdgepressError as error:
            return self._failed(name, str(error), error.exit_code)
        except Exception as error:  # noqa: BLE001  # of one, which the others survive
            command = ["compress", "profile", "--device", name]
            return self._failed(name, kept_as_bug(error, command), Exit.BUG)
        return Row(
            device=name,
            measurements=tuple(map(_summary, profile.measurements)),
            comparisons=tuple(f"{each.as_text()}." for each in profile.comparisons),
            samples=samples,
            exit_code=profile.exit_code,
        )

    def _failed(self, name: str, told: str, code: int) -> Row:
        """A row without numbers, said at once."""
        told = told if told.startswith(f"{name}:") else f"{name}: {told}"
        self.screen.tell(told)
        return Row(device=name, error=told, exit_code=code)


def profile_fleet(devices: Mapping[str, Device], errand: Errand) -> Fleet:
    """Send `errand` to every device, to those elsewhere at the same time.

    Those that are this machine take turns, when nothing else is going on.
    """

    def measured(name: str) -> Row:
        return errand.on(name, devices[name])

    here = [name for name in devices if is_here(name)]
    rows = dict(together(measured, [name for name in devices if name not in here]))
    rows |= {name: measured(name) for name in here}
    return Fleet(rows=tuple(rows[name] for name in devices))


def _kept(name: str, profile: Profile, out: Path) -> str:
    """Write every sample down; the file's name."""
    path = out / f"{file_name(name)}.json"
    write_text(path, profile.as_json() + "\n")
    return path.name


def _summary(measurement: Measurement) -> dict[str, object]:
    """A measurement's record without its samples."""
    record = measurement.as_record()
    for key in _SAMPLES:
        del record[key]
    return record


def _cells(device: str, record: Mapping[str, object]) -> tuple[str, ...]:
    """A line of the table."""
    times = [_number(record, f"{key}_ms") for key in ("p50", "p90", "p99", "load")]
    return (
        printable(f"{device}, {record['path']}"),
        *map(milliseconds, times),
        size(_number(record, "peak_rss_bytes")),
    )


def _number(record: Mapping[str, object], key: str) -> float | None:
    """A number of a record; None where there is none, as of a latency emulated."""
    found = record[key]
    return float(found) if isinstance(found, int | float) else None


def _about(rows: Sequence[Row], key: str, word: str) -> list[str]:
    """Every sentence under `key` once, with the devices that it is about."""
    about: dict[str, dict[str, None]] = {}
    for row in rows:
        for each in row.measurements:
            found = each[key]
            told = each["faults"] if key != "faults" else ()
            for sentence in found if isinstance(found, list) else ():
                if isinstance(told, list) and sentence in told:
                    continue  # a fault is a doubt, too
                about.setdefault(str(sentence), {})[row.device] = None
    return [f"{word}: {listed(list(about[each]))}: {each}." for each in about]
