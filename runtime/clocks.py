"""Clock frequency and temperature of the machine, before and after a measurement."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from runtime import sysfs
from runtime.typed import Between

_Mhz = Annotated[float, Between(0, 1e6)]
_Celsius = Annotated[float, Between(-300, 1e4)]


@dataclass(frozen=True, kw_only=True)
class State:
    """One look at the machine; None where it does not say.

    clock_mhz: mean of the cores' clocks; temperature_c: of the hottest thermal zone;
    held_back: reasons for which the machine holds its clock down at that moment.
    """

    clock_mhz: _Mhz | None = None
    temperature_c: _Celsius | None = None
    held_back: tuple[str, ...] = ()

    def as_text(self) -> str:
        """`1800 MHz, 62 C`, as far as known; empty if nothing is."""
        parts = []
        if self.clock_mhz is not None:
            parts.append(f"{self.clock_mhz:.0f} MHz")
        if self.temperature_c is not None:
            parts.append(f"{self.temperature_c:.0f} C")
        return ", ".join([*parts, *self.held_back])


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The machine's state before and after."""

    before: State
    after: State

    def as_text(self) -> str:
        """One clause for people; empty where the machine says nothing."""
        before, after = self.before.as_text(), self.after.as_text()
        return f"{before} before, {after} after" if before and after else ""


def state(root: Path = Path("/"), *, held_back: tuple[str, ...] = ()) -> State:
    """Look once; three or four small files a core, some tens of microseconds each."""
    return State(
        clock_mhz=clock_mhz(root), temperature_c=hottest_c(root), held_back=held_back
    )


def clock_mhz(root: Path) -> float | None:
    """Mean of the cores' clocks: by cpufreq, else by what /proc/cpuinfo says."""
    clocks = sysfs.numbers(
        root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"
    )
    if clocks:
        return sum(clocks) / len(clocks) / 1e3
    lines = (sysfs.text(root / "proc/cpuinfo") or "").splitlines()
    told = [line.partition(":")[2] for line in lines if line.startswith("cpu MHz")]
    try:
        found = [float(each) for each in told]
    except ValueError:
        return None
    return sum(found) / len(found) if found else None


def hottest_c(root: Path) -> float | None:
    """The hottest thermal zone; zones that are asleep read as 0 or below."""
    zones = sysfs.numbers(root, "sys/class/thermal/thermal_zone*/temp")
    hot = [each / 1e3 for each in zones if each > 0]
    return max(hot, default=None)
