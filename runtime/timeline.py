"""Sustained performance: latency over time, window by window, and what became of it."""

from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Annotated, Final, Literal

from runtime.typed import Between

_Ms = Annotated[float, Between(0, 1e12)]
_Share = Annotated[float, Between(0, 1e6)]
# A change of the median latency that no steady machine shows: twice the 2 % within
# which Georges et al. 2007 call a series steady, and a little more. It is the bound of
# the doubt about drift in quick mode, too.
DRIFT: Final = 0.05
# So much of the windows may stand out without the run being unsteady.
_STRAY: Final = 0.10
_HEIGHT: Final = 6
_WIDTH: Final = 60

Verdict = Literal["steady", "throttled", "drifted", "unsteady"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of a long run: its end, its latencies, the machine at its end.

    others_cores: cores that other processes kept busy meanwhile.
    """

    end_s: _Ms
    runs: Annotated[int, Between(1, 2**31)]
    p50_ms: _Ms
    p90_ms: _Ms
    clock_mhz: Annotated[float, Between(0, 1e6)] | None = None
    temperature_c: Annotated[float, Between(-300, 1e4)] | None = None
    held_back: bool | None = None
    others_cores: _Share | None = None


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a timeline says: the verdict, and the numbers behind it.

    change: of the median latency from the first tenth of the run to its last quarter, a
    fraction; since_s: when it left the first level for good; clock: as `change`, of the
    clock, None where it is not known.
    """

    verdict: Verdict
    first_ms: float
    last_ms: float
    change: float
    since_s: float | None
    clock: float | None
    others_cores: float | None

    def as_text(self) -> str:
        """One sentence."""
        if self.verdict == "steady":
            return (
                f"latency held: {self.first_ms:.3f} ms at first, {self.last_ms:.3f} ms "
                f"at the end ({self.change:+.1%}); no throttling is seen"
            )
        if self.verdict == "unsteady":
            return (
                f"latency went up and down by more than {DRIFT:.0%} though it ended "
                f"where it began ({self.first_ms:.3f} ms); {self._cause()}"
            )
        verb = "rose" if self.change > 0 else "fell"
        since = f" from {self.since_s / 60:.1f} min on" if self.since_s else ""
        return (
            f"latency {verb} by {abs(self.change):.0%}{since}, from "
            f"{self.first_ms:.3f} ms to {self.last_ms:.3f} ms; {self._cause()}"
        )

    def _cause(self) -> str:
        """What speaks for which reason."""
        busy = self.others_cores
        others = f"; other programs kept {busy:.1f} cores busy" if busy else ""
        if self.verdict == "throttled":
            fell = "" if self.clock is None else f" (clock {self.clock:+.0%})"
            return f"the machine throttles{fell}"
        if self.clock is not None:
            return f"its clock changed by {self.clock:+.0%}{others}"
        return f"the machine tells neither clock nor throttling{others}"


def course(windows: tuple[Window, ...]) -> Course:
    """Judge a timeline of one window or more."""
    first = windows[: max(1, len(windows) // 10)]
    last = windows[-max(1, len(windows) // 4) :]
    level, end = _level(first), _level(last)
    clock = _clock_change(first, last)
    change = end / level - 1
    slower = [each.p50_ms > (1 + DRIFT) * level for each in windows]
    said = any(each.held_back for each in windows)
    verdict: Verdict = "steady"
    if said or (change > DRIFT and clock is not None and clock < -DRIFT):
        verdict = "throttled"
    elif abs(change) > DRIFT:
        verdict = "drifted"
    elif sum(slower) > _STRAY * len(windows):
        verdict = "unsteady"
    others = [each.others_cores for each in windows if each.others_cores is not None]
    return Course(
        verdict=verdict,
        first_ms=level,
        last_ms=end,
        change=change,
        since_s=_since(windows, slower) if change > DRIFT else None,
        clock=clock,
        others_cores=median(others) if others else None,
    )


def plot(windows: tuple[Window, ...]) -> list[str]:
    """The median latency over time in characters; at most 80 columns."""
    columns = min(_WIDTH, len(windows))
    edges = [round(index * len(windows) / columns) for index in range(columns + 1)]
    levels = [_level(windows[start:end]) for start, end in pairwise(edges)]
    low, high = min(levels), max(levels)
    # What stays within the bound of drift is drawn as the flat line that it is.
    margin = max(0.0, low * 2 * DRIFT - (high - low)) / 2
    low, high = low - margin, high + margin
    step = (high - low) / (_HEIGHT - 1) or 1.0
    rows = [min(_HEIGHT - 1, round((each - low) / step)) for each in levels]
    lines = [
        f"{low + row * step:10.3f} |"
        + "".join("*" if each == row else " " for each in rows).rstrip()
        for row in reversed(range(_HEIGHT))
    ]
    minutes = f"{windows[-1].end_s / 60:.1f} min"
    lines.append(f"{'p50 ms':>10} +{'-' * columns}")
    return [*lines, f"{'':12}0{minutes:>{max(columns, len(minutes) + 1)}}"]


def _level(windows: tuple[Window, ...]) -> float:
    """The median of the windows' medians."""
    return median(each.p50_ms for each in windows)


def _clock_change(first: tuple[Window, ...], last: tuple[Window, ...]) -> float | None:
    """How the clock changed, a fraction; None where it is not known."""
    pairs = [
        [each.clock_mhz for each in part if each.clock_mhz] for part in (first, last)
    ]
    if not all(pairs):
        return None
    return median(pairs[1]) / median(pairs[0]) - 1


def _since(windows: tuple[Window, ...], slower: list[bool]) -> float | None:
    """The end of the last window that still was on the first level."""
    kept = [each.end_s for each, slow in zip(windows, slower, strict=True) if not slow]
    return max(kept, default=None)
