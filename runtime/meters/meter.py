"""A meter of electrical energy, and what it counts while something runs."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

_PERIOD_S: Final = 0.1
_FEWEST: Final = 3  # samples of power that an integral may rest on


class NoMeterError(Exception):
    """A meter that is not there, or cannot be read; the end of a sentence."""


@dataclass(frozen=True)
class Spent:
    """Joules over a time."""

    joules: float
    seconds: float

    @property
    def watts(self) -> float:
        """Mean power."""
        return self.joules / self.seconds


class Meter(Protocol):
    """Counts energy while something runs."""

    @property
    def source(self) -> str:
        """The meter and what it counts, for people."""
        ...

    def over(self, work: Callable[[], None]) -> Spent:
        """Run `work`, and say what it took; NoMeterError where that fails."""
        ...


class SampledMeter:
    """A meter that knows power only, read ten times a second beside the work."""

    def __init__(
        self, source: str, watts: Callable[[], float], *, period_s: float = _PERIOD_S
    ) -> None:
        """`watts` reads the power of this moment, or raises NoMeterError."""
        self.source: Final = source
        self._watts: Final = watts
        self._period_s: Final = period_s

    def over(self, work: Callable[[], None]) -> Spent:
        """Run `work` in this thread and sample in another."""
        samples: list[tuple[float, float]] = []
        trouble: list[NoMeterError] = []
        done = threading.Event()

        def watch() -> None:
            try:
                while True:
                    samples.append((time.monotonic(), self._watts()))
                    if done.wait(self._period_s):
                        samples.append((time.monotonic(), self._watts()))
                        return
            except NoMeterError as error:
                trouble.append(error)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            work()
        finally:
            done.set()
            watcher.join()
        if trouble:
            raise trouble[0]
        if len(samples) < _FEWEST:
            raise NoMeterError(f"{self.source} gave {len(samples)} samples only")
        return Spent(integral(samples), samples[-1][0] - samples[0][0])


def integral(samples: Sequence[tuple[float, float]]) -> float:
    """Joules under samples of (seconds, watts), by trapezoids."""
    return sum(
        (later - sooner) * (first + second) / 2
        for (sooner, first), (later, second) in pairwise(samples)
    )
