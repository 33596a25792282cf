"""Meters by name: one literal table, and which of them this machine has."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from runtime.errors import RecipeError
from runtime.meters import ina3221, pmic, rapl
from runtime.meters.meter import Meter, NoMeterError
from runtime.meters.power_log import LogMeter, read_log

_LOG: Final = ".csv"
METERS: Final[Mapping[str, Callable[[Path], Meter]]] = {
    "rapl": rapl.open_meter,
    "ina3221": ina3221.open_meter,
    "pmic": pmic.open_meter,
}


def check_meter(name: str) -> None:
    """Refuse, before any work, a name that means nothing and a log that is none."""
    if name.lower().endswith(_LOG):
        read_log(Path(name))
    elif name != "auto" and name not in METERS:
        known = ", ".join(["auto", *METERS, "or a .csv file of time,watts"])
        raise RecipeError(f"--energy {name}: not known; known: {known}")


def open_meter(name: str, root: Path = Path("/")) -> Meter:
    """The meter `name`: of the table, `auto` for the first that is here, or a CSV file.

    NoMeterError says why there is none; a name that means nothing is a RecipeError.
    """
    check_meter(name)
    if name.lower().endswith(_LOG):
        return LogMeter(Path(name))
    missing = []
    for each in METERS if name == "auto" else [name]:
        try:
            return METERS[each](root)
        except NoMeterError as error:  # noqa: PERF203  # a handful of meters
            missing.append(str(error))
    raise NoMeterError("; ".join(missing))
