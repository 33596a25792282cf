"""An external power meter's log: a CSV file of Unix seconds and watts, written live."""

import math
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final

from runtime.errors import InputRejectedError
from runtime.files import regular_bytes
from runtime.meters.meter import NoMeterError, Spent, integral

_LARGEST_BYTES: Final = 1 << 26
_PATIENCE_S: Final = 5.0
_WAIT_S: Final = 0.2
# A log that is silent for longer does not say what was taken meanwhile.
_LONGEST_GAP_S: Final = 2.0
_HEAD: Final = "time,watts"


class LogMeter:
    """Reads the log after the work; the clocks of both machines have to agree."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`clock` is that of the log's first column."""
        self.source: Final = f"{path.name} (an external meter)"
        self._path: Final = path
        self._clock, self._sleep = clock, sleep

    def over(self, work: Callable[[], None]) -> Spent:
        """Run `work`, then wait a little until the log is as far."""
        began = self._clock()
        work()
        ended = self._clock()
        samples = read_log(self._path)
        waited = 0.0
        while (not samples or samples[-1][0] < ended) and waited < _PATIENCE_S:
            self._sleep(_WAIT_S)
            waited += _WAIT_S
            samples = read_log(self._path)
        return Spent(between(samples, began, ended, self.source), ended - began)


def between(
    samples: list[tuple[float, float]], began: float, ended: float, source: str
) -> float:
    """Joules from `began` to `ended`, the ends interpolated."""
    if not samples or samples[0][0] > began or samples[-1][0] < ended:
        raise NoMeterError(f"{source} does not cover the measurement")
    place = next(i for i in range(len(samples)) if samples[i][0] >= began)
    first = max(0, place - 1)
    last = next(i for i in range(len(samples)) if samples[i][0] >= ended)
    part = samples[first : last + 1]
    gaps = [later[0] - sooner[0] for sooner, later in pairwise(part)]
    if max(gaps, default=0.0) > _LONGEST_GAP_S:
        raise NoMeterError(f"{source} has a gap of {max(gaps):.1f} s")
    inner = [each for each in part if began < each[0] < ended]
    ends = [(at, _at(part, at)) for at in (began, ended)]
    return integral([ends[0], *inner, ends[1]])


def _at(samples: list[tuple[float, float]], at: float) -> float:
    """The power at a moment, by a straight line between its neighbors."""
    for (sooner, first), (later, second) in pairwise(samples):
        if sooner <= at <= later:
            share = (at - sooner) / (later - sooner) if later > sooner else 0.0
            return first + share * (second - first)
    return samples[-1][1]


def read_log(path: Path) -> list[tuple[float, float]]:
    """Seconds and watts; a line that is still being written is left out.

    InputRejectedError for what is no such log, with the line.
    """
    try:
        raw = regular_bytes(path, largest=_LARGEST_BYTES)
    except OSError as error:
        raise InputRejectedError(f"{path}: not readable: {error.strerror}") from error
    except ValueError as error:
        raise InputRejectedError(
            f"{path}: {error}; allowed: a power log of Unix seconds and watts"
        ) from error
    whole = raw.decode("utf-8", "replace").rpartition("\n")[0]
    samples: list[tuple[float, float]] = []
    for number, line in enumerate(whole.splitlines(), start=1):
        if not line.strip() or (number == 1 and line.replace(" ", "") == _HEAD):
            continue
        samples.append(_sample(line, f"{path}: line {number}"))
        if len(samples) > 1 and samples[-1][0] < samples[-2][0]:
            raise InputRejectedError(f"{path}: line {number} goes back in time")
    return samples


def _sample(line: str, source: str) -> tuple[float, float]:
    """One line."""
    try:
        at, watts = map(float, line.split(","))
    except ValueError:
        at = watts = math.nan
    if not (math.isfinite(at) and math.isfinite(watts) and watts >= 0):
        raise InputRejectedError(
            f"{source} is {line[:40]!r}; allowed: Unix seconds, a comma, watts"
        )
    return at, watts
