"""Power modes of a Jetson: what `nvpmodel` allows and whether `jetson_clocks` holds.

Only files are read: both tools want root. `nvpmodel` keeps its state in
/var/lib/nvpmodel/status (`pmode:0002`) and its modes in /etc/nvpmodel.conf
(`< POWER_MODEL ID=2 NAME=MAXN >`); `jetson_clocks` sets the least clock of each core to
its greatest (Jetson Linux developer guide, "Power and performance").
"""

import re
from pathlib import Path
from typing import Final

from runtime import sysfs

_MODE: Final = re.compile(r"<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=([\w.+-]{1,40})\s*>")
_STATUS: Final = re.compile(r"pmode:(\d{1,8})")


def power_mode(root: Path = Path("/")) -> str | None:
    """`MAXN (mode 0)`, or None on a machine without nvpmodel."""
    found = _STATUS.search(sysfs.text(root / "var/lib/nvpmodel/status") or "")
    if found is None:
        return None
    mode = int(found[1])
    names = dict(_MODE.findall(sysfs.text(root / "etc/nvpmodel.conf") or ""))
    named = {int(number): name for number, name in names.items()}.get(mode)
    return f"{named} (mode {mode})" if named else f"mode {mode}"


def clocks_locked(root: Path = Path("/")) -> bool | None:
    """Whether clocks cannot fall, as under `jetson_clocks`; None: unknown."""
    folder = "sys/devices/system/cpu/cpu[0-9]*/cpufreq"
    least = sysfs.numbers(root, f"{folder}/scaling_min_freq")
    most = sysfs.numbers(root, f"{folder}/scaling_max_freq")
    if not least or len(least) != len(most):
        return None
    return least == most
