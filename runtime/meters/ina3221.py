"""INA3221, the power monitor on Jetson boards, through Linux' hwmon.

Source: Linux Documentation/hwmon/ina3221.rst (in*_input in mV, curr*_input in mA);
Jetson Linux developer guide: VDD_IN is all of the module where it exists (Orin Nano and
NX, Xavier NX; POM_5V_IN on the Nano), elsewhere the rails add up to it (AGX).
"""

from pathlib import Path
from typing import Final

from runtime import sysfs
from runtime.meters.meter import Meter, NoMeterError, SampledMeter

_WHOLE: Final = ("VDD_IN", "POM_5V_IN")
_CHANNELS: Final = (1, 2, 3)


def open_meter(root: Path) -> Meter:
    """The input rail, or the sum of all; NoMeterError where there is no such chip."""
    rails = {
        label: (chip, channel)
        for name in sysfs.matches(root, "sys/class/hwmon/hwmon*/name")
        if sysfs.text(name) == "ina3221"
        for chip in [name.parent]
        for channel in _CHANNELS
        if (label := sysfs.text(chip / f"in{channel}_label")) not in (None, "NC")
    }
    if not rails:
        raise NoMeterError("INA3221: no such chip in /sys/class/hwmon")
    whole = [label for label in rails if label in _WHOLE]
    chosen = whole[:1] or [label for label in rails if label]
    source = f"INA3221 ({' + '.join(str(label) for label in chosen)})"

    def watts() -> float:
        microwatts = 0
        for label in chosen:
            chip, channel = rails[label]
            millivolts = sysfs.number(chip / f"in{channel}_input")
            milliamperes = sysfs.number(chip / f"curr{channel}_input")
            if millivolts is None or milliamperes is None:
                raise NoMeterError(f"{source} could not be read")
            microwatts += millivolts * milliamperes
        return microwatts / 1e6

    watts()
    return SampledMeter(source, watts)
