"""Thermal and power throttling: whether a machine says that it holds its clocks down.

Sources: Raspberry Pi documentation, `vcgencmd get_throttled` (bits 0 to 3 now, 16 to 19
since boot); Linux Documentation/ABI sysfs-class-thermal (cooling devices); Intel's
thermal_throttle counters; Jetson Linux developer guide, "over-current throttling"
(`oc*_event_cnt` of soctherm).
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime import sysfs

_COUNTS: Final = (
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count",
    "sys/class/hwmon/hwmon*/oc*_event_cnt",
)
# Pi 4: soc/soc:firmware; on a Pi 5 the node carries its address.
_FIRMWARE: Final = "sys/devices/platform/soc*/soc*firmware/get_throttled"
_REASONS: Final = (
    "under-voltage",
    "frequency capped",
    "throttled",
    "soft temperature limit",
)
_SINCE_BOOT: Final = 16
# Cooling devices that cap the clock of the CPU; others are fans, or idle injection.
_CAPS_CLOCK: Final = ("thermal-cpufreq", "cpufreq", "cpu-throttle")
_PATIENCE_S: Final = 2.0


@dataclass(frozen=True)
class Flags:
    """What the machine says at one moment; all None or empty where it says nothing.

    now: reasons for which it holds back at this moment; ever: reasons since boot;
    events: how often it began to, since boot.
    """

    now: tuple[str, ...] = ()
    ever: tuple[str, ...] = ()
    events: int | None = None
    told: bool = False  # whether the machine has a way to say so at all


def flags(root: Path = Path("/")) -> Flags:
    """Look once; a few small files, and `vcgencmd` where only it knows."""
    bits = _firmware_bits(root)
    counts = [each for pattern in _COUNTS for each in sysfs.numbers(root, pattern)]
    caps, capped = _cooling(root)
    now = _reasons(bits or 0) + (("clock capped as it is hot",) if capped else ())
    return Flags(
        now=now,
        ever=_reasons((bits or 0) >> _SINCE_BOOT),
        events=sum(counts) if counts else None,
        told=bits is not None or bool(counts) or caps,
    )


def began(before: Flags, after: Flags) -> bool | None:
    """Whether the machine held back between two looks, or at one; None: it is mute."""
    if not (before.told or after.told):
        return None
    more = (after.events or 0) > (before.events or 0)
    new = not set(after.ever) <= set(before.ever)
    return bool(before.now or after.now or more or new)


def _reasons(bits: int) -> tuple[str, ...]:
    """Names of the four lowest bits."""
    return tuple(name for bit, name in enumerate(_REASONS) if bits >> bit & 1)


def _firmware_bits(root: Path) -> int | None:
    """The word of a Raspberry Pi's firmware."""
    for path in sysfs.matches(root, _FIRMWARE):
        found = sysfs.number(path, base=16)
        if found is not None:
            return found
    if root != Path("/"):
        return None
    told = vcgencmd("get_throttled") or ""
    try:
        return int(told.partition("=")[2], 16)
    except ValueError:
        return None


def _cooling(root: Path) -> tuple[bool, bool]:
    """Whether there are devices that cap the clock, and whether one does."""
    states = [
        sysfs.number(path.with_name("cur_state"))
        for path in sysfs.matches(root, "sys/class/thermal/cooling_device*/type")
        if (sysfs.text(path) or "").startswith(_CAPS_CLOCK)
    ]
    return bool(states), any(state is not None and state > 0 for state in states)


def vcgencmd(*words: str) -> str | None:
    """What the Raspberry Pi's own tool prints; None where it is not, or fails."""
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603  # found on the path, words of our own
            [program, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_PATIENCE_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
