"""What else happened on the machine while something was measured."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime import throttling
from runtime.container import quota_pauses


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What was counted between two moments; None where the system does not count."""

    seconds: float
    evictions: int | None = None  # involuntary context switches of this process
    steal_fraction: float | None = None  # of one core's time, taken by the hypervisor
    others_cores: float | None = None  # cores kept busy by other processes, on average
    throttled: bool | None = None  # the machine said that it held its clock down
    quota_pauses: int | None = None  # times that a container's CPU quota stopped it


@dataclass(frozen=True)
class _Counters:
    """Running totals of the system at one moment."""

    at: float
    evictions: int | None
    own_cpu: float
    busy: float | None
    steal: float | None
    flags: throttling.Flags
    pauses: int | None


def watch(root: Path = Path("/")) -> Callable[[], Disturbance]:
    """Start counting; the returned function says what came together since."""
    before = _counters(root)

    def until_now() -> Disturbance:
        after = _counters(root)
        seconds = max(after.at - before.at, 1e-9)
        steal = _difference(before.steal, after.steal)
        busy = _difference(before.busy, after.busy)
        own = after.own_cpu - before.own_cpu
        return Disturbance(
            seconds=seconds,
            evictions=_whole(_difference(before.evictions, after.evictions)),
            steal_fraction=None if steal is None else steal / seconds,
            others_cores=None if busy is None else max(0.0, busy - own) / seconds,
            throttled=throttling.began(before.flags, after.flags),
            quota_pauses=_whole(_difference(before.pauses, after.pauses)),
        )

    return until_now


def _difference(before: float | None, after: float | None) -> float | None:
    """`after - before` where both are known."""
    return None if before is None or after is None else after - before


def _whole(count: float | None) -> int | None:
    """A count as a whole number."""
    return None if count is None else int(count)


def _counters(root: Path) -> _Counters:
    """Read every running total."""
    busy, steal = _cpu_seconds(root)
    return _Counters(
        at=time.monotonic(),
        evictions=_evictions(),
        own_cpu=time.process_time(),
        busy=busy,
        steal=steal,
        flags=throttling.flags(root),
        pauses=quota_pauses(root),
    )


def _evictions() -> int | None:
    """How often the scheduler took a core away from this process so far."""
    try:
        import resource
    except ModuleNotFoundError:  # not a POSIX system
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _cpu_seconds(root: Path) -> tuple[float | None, float | None]:
    """Busy and stolen seconds of all cores since boot (proc(5), /proc/stat)."""
    try:
        line = (root / "proc/stat").read_text(encoding="ascii").splitlines()[0]
        user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
    except (OSError, ValueError, IndexError):
        return None, None
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / ticks, steal / ticks
