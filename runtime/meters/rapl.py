"""RAPL, the energy counters of x86 processors, through Linux' powercap.

Source: Linux Documentation/power/powercap/powercap.rst. Packages and their memory
(dram) are added up; core and uncore are parts of a package. AMD's appear here, too.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from runtime import sysfs
from runtime.meters.meter import Meter, NoMeterError, Spent

_ZONES: Final = "sys/class/powercap/intel-rapl:*"


class RaplMeter:
    """Counters in microjoules that wrap around."""

    def __init__(self, zones: dict[str, Path]) -> None:
        """`zones` by name."""
        self.source: Final = f"RAPL ({', '.join(zones)})"
        self._zones: Final = tuple(zones.values())

    def over(self, work: Callable[[], None]) -> Spent:
        """Run `work` between two readings."""
        before, began = self._read(), time.monotonic()
        work()
        after, ended = self._read(), time.monotonic()
        used_uj = 0
        for zone, first, last in zip(self._zones, before, after, strict=True):
            span = sysfs.number(zone / "max_energy_range_uj")
            if last < first and not span:
                raise NoMeterError(f"{self.source} wrapped around at an unknown count")
            used_uj += (last - first) % (span + 1 if span else 1 << 64)
        return Spent(used_uj / 1e6, max(ended - began, 1e-9))

    def _read(self) -> list[int]:
        """Every zone's counter."""
        found = [sysfs.number(zone / "energy_uj") for zone in self._zones]
        counts = [each for each in found if each is not None]
        if len(counts) < len(found):
            raise NoMeterError(f"{self.source} could not be read")
        return counts


def open_meter(root: Path) -> Meter:
    """The packages' counters; NoMeterError where there are none that may be read."""
    named = {
        path: sysfs.text(path / "name") or ""
        for path in sysfs.matches(root, _ZONES)
        if (path / "energy_uj").exists()
    }
    zones = {
        f"{name}{path.name.partition(':')[2] if name == 'dram' else ''}": path
        for path, name in named.items()
        if name.startswith("package") or name == "dram"
    }
    if not zones:
        raise NoMeterError("RAPL: no /sys/class/powercap/intel-rapl:*")
    if any(sysfs.number(path / "energy_uj") is None for path in zones.values()):
        raise NoMeterError(
            "RAPL: energy_uj may be read by root only (since CVE-2020-8694)"
        )
    return RaplMeter(zones)
