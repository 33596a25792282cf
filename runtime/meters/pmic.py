"""The power management chip of a Raspberry Pi 5, through `vcgencmd pmic_read_adc`.

Each rail has a line for its current and one for its voltage, `VDD_CORE_A
current(7)=1.2A` and `VDD_CORE_V volt(15)=0.87V`; their products are added up. What the
chip itself loses, and what hangs on the 5 V rail directly, is not in it.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from runtime.meters.meter import Meter, NoMeterError, SampledMeter
from runtime.throttling import vcgencmd

_LINE: Final = re.compile(
    r"^\s*(\w{1,40})_([AV])(?:\s+\w+\(\d{1,3}\))?=(\d{1,6}(?:\.\d{1,12})?)[AV]\s*$",
    re.MULTILINE,
)
_SOURCE: Final = "the Raspberry Pi's PMIC (sum of its rails)"
_PERIOD_S: Final = 0.25  # each reading starts a program


def watts_of(printed: str) -> float:
    """Power of all rails that have both values; NoMeterError if there is none."""
    found: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for rail, unit, value in _LINE.findall(printed):
        found[unit][rail] = float(value)
    rails = found["A"].keys() & found["V"].keys()
    if not rails:
        raise NoMeterError("PMIC: vcgencmd pmic_read_adc names no rail's current")
    return sum(found["A"][rail] * found["V"][rail] for rail in rails)


def open_meter(root: Path, ask: Callable[[str], str | None] = vcgencmd) -> Meter:
    """The sum of the rails; NoMeterError where there is no such tool."""
    del root  # a program answers, no file

    def watts() -> float:
        printed = ask("pmic_read_adc")
        if printed is None:
            raise NoMeterError("PMIC: no vcgencmd that knows pmic_read_adc")
        return watts_of(printed)

    watts()
    return SampledMeter(_SOURCE, watts, period_s=_PERIOD_S)
