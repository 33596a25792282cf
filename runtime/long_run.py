"""Long measurements: MLPerf's single stream, and sustained performance over minutes.

Each inference follows the one before at once; between portions of a twentieth of a
second the machine is looked at.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np

from runtime import clocks, throttling
from runtime.disturbance import watch
from runtime.early_stopping import EarlyStopping, early_stopping
from runtime.timeline import Window
from runtime.timing import Call, Clock, Nanoseconds, timed
from runtime.typed import Between

_WINDOWS: Final = 60
_FEWEST_WINDOWS: Final = 4
_PORTION_NS: Final = 50_000_000
# What a record keeps of the latencies: every second, third … of them where there are
# more, so that they stay evenly spread over the run.
_MOST_KEPT: Final = 20_000


@dataclass(frozen=True, kw_only=True)
class LongRun:
    """What a run of minutes knows beside its latencies.

    kept_every: of the latencies in the record, each so-many-th; early_stopping: over
    all of them, None where they are fewer than 64.
    """

    mode: Literal["certified", "sustained"]
    seconds: Annotated[float, Between(0, 1e9)]
    kept_every: Annotated[int, Between(1, 2**31)]
    windows: tuple[Window, ...]
    early_stopping: EarlyStopping | None


def long_run(
    call: Call,
    *,
    mode: Literal["certified", "sustained"],
    seconds: float,
    clock: Clock = time.perf_counter_ns,
    root: Path = Path("/"),
) -> tuple[Nanoseconds, LongRun]:
    """Run `call` for `seconds` by `clock`; the latencies that are kept, and the rest.

    `root` is where /proc and /sys are found.
    """
    parts: list[Nanoseconds] = []
    windows: list[Window] = []
    length_ns = seconds * 1e9 / max(_FEWEST_WINDOWS, min(_WINDOWS, int(seconds)))
    began = clock()
    while not windows or windows[-1].end_s < seconds:
        end_ns = (len(windows) + 1) * length_ns
        look = _looker(root)
        part = _stretch(call, until_ns=began + int(end_ns), clock=clock)
        windows.append(look(part, (clock() - began) / 1e9))
        parts.append(part)
    samples = np.concatenate(parts)
    every = -(-len(samples) // _MOST_KEPT)
    return samples[::every], LongRun(
        mode=mode,
        seconds=windows[-1].end_s,
        kept_every=every,
        windows=tuple(windows),
        early_stopping=early_stopping(samples),
    )


def _stretch(call: Call, *, until_ns: int, clock: Clock) -> Nanoseconds:
    """Latencies from now on until the clock says `until_ns`; one at least."""
    parts: list[Nanoseconds] = []
    portion = 1
    while not parts or clock() < until_ns:
        samples = np.zeros((1, portion), np.int64)
        before = clock()
        timed([call], np.zeros((portion, 1), np.int64), samples, clock=clock)
        each_ns = max(1, (clock() - before) // portion)
        left_ns = max(1, until_ns - clock())
        portion = int(max(1, min(_PORTION_NS, left_ns) // each_ns))
        parts.append(samples[0])
    return np.concatenate(parts)


def _looker(root: Path) -> Callable[[Nanoseconds, float], Window]:
    """Begin a window; the returned function ends it, given its latencies."""
    so_far, flags = watch(root), throttling.flags(root)

    def window(samples: Nanoseconds, end_s: float) -> Window:
        state = clocks.state(root)
        return Window(
            end_s=end_s,
            runs=len(samples),
            p50_ms=float(np.median(samples)) / 1e6,
            p90_ms=float(np.percentile(samples, 90)) / 1e6,
            clock_mhz=state.clock_mhz,
            temperature_c=state.temperature_c,
            held_back=throttling.began(flags, throttling.flags(root)),
            others_cores=so_far().others_cores,
        )

    return window
