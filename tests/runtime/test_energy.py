"""Energy on meters of our own, whose joules are known."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.energy import measure_energy
from runtime.errors import InputRejectedError, RecipeError
from runtime.meters import ina3221, pmic, rapl
from runtime.meters.meter import NoMeterError, Spent
from runtime.meters.power_log import LogMeter, between, read_log
from runtime.meters.table import open_meter


def written(root: Path, files: dict[str, object]) -> Path:
    """Files below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")
    return root


class Exact:
    """A meter and a clock: 2 W at rest, and 30 mJ more for each inference of 10 ms."""

    source = "an exact meter"

    def __init__(self, rest_w: tuple[float, float] = (2.0, 2.0)) -> None:
        self.now = self.joules = 0.0
        self._rest_w = iter((rest_w[0], 2.0, rest_w[1]))

    def over(self, work: Callable[[], None]) -> Spent:
        began, joules, watts = self.now, self.joules, next(self._rest_w)
        work()
        seconds = self.now - began
        return Spent(self.joules - joules + watts * seconds, seconds)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def infer(self) -> None:
        self.now += 0.010
        self.joules += 0.030

    def clock(self) -> float:
        return self.now


def test_idle_is_subtracted_from_what_an_inference_takes() -> None:
    board = Exact()
    found = measure_energy(board.infer, board, sleep=board.sleep, clock=board.clock)
    assert found.mj == pytest.approx(30.0)
    assert found.busy_w == pytest.approx(5.0)
    assert found.rest_w == (2.0, 2.0)
    assert found.runs in {500, 501}  # sums of 0.01 are not exact
    assert "30 mJ an inference by an exact meter" in found.as_text()
    assert list(found.doubts()) == []


def test_a_rest_that_is_none_is_a_doubt() -> None:
    board = Exact(rest_w=(1.5, 2.5))
    found = measure_energy(board.infer, board, sleep=board.sleep, clock=board.clock)
    (doubt,) = found.doubts()
    assert "1.50 W to 2.50 W" in doubt


def test_what_drowns_in_idle_is_unknown_and_not_zero() -> None:
    board = Exact()
    found = measure_energy(
        lambda: board.sleep(0.01), board, sleep=board.sleep, clock=board.clock
    )
    assert found.mj is None
    assert found.reason is not None
    assert "no more at work" in found.reason


ZONE = "sys/class/powercap/intel-rapl:0"


def zones(root: Path, package_uj: int, dram_uj: int) -> Path:
    """A package, its memory, and its cores, which are a part of it."""
    return written(
        root,
        {
            f"{ZONE}/name": "package-0",
            f"{ZONE}/energy_uj": package_uj,
            f"{ZONE}/max_energy_range_uj": 999_999,
            "sys/class/powercap/intel-rapl:0:0/name": "core",
            "sys/class/powercap/intel-rapl:0:0/energy_uj": package_uj,
            "sys/class/powercap/intel-rapl:0:1/name": "dram",
            "sys/class/powercap/intel-rapl:0:1/energy_uj": dram_uj,
            "sys/class/powercap/intel-rapl:0:1/max_energy_range_uj": 999_999,
        },
    )


def test_rapl_adds_packages_and_memory_and_counts_through_a_wrap(
    tmp_path: Path,
) -> None:
    """600,000 to 100,000 of a million is half a joule; memory adds 0.2."""
    meter = rapl.open_meter(zones(tmp_path, 600_000, 100_000))
    spent = meter.over(lambda: zones(tmp_path, 100_000, 300_000) and None)
    assert spent.joules == pytest.approx(0.7)
    assert "package-0" in meter.source
    assert "dram" in meter.source
    assert "core" not in meter.source


def test_rapl_that_only_root_may_read_says_so(tmp_path: Path) -> None:
    written(tmp_path, {f"{ZONE}/name": "package-0", f"{ZONE}/energy_uj": ""})
    with pytest.raises(NoMeterError, match="root only"):
        rapl.open_meter(tmp_path)


def chip(root: Path, labels: dict[int, tuple[str, int, int]]) -> Path:
    """An INA3221: label, mV and mA of each channel."""
    written(root, {"sys/class/hwmon/hwmon1/name": "ina3221"})
    for channel, (label, millivolts, milliamperes) in labels.items():
        written(
            root / "sys/class/hwmon/hwmon1",
            {
                f"in{channel}_label": label,
                f"in{channel}_input": millivolts,
                f"curr{channel}_input": milliamperes,
            },
        )
    return root


def a_moment() -> None:
    """A moment, in which a meter is read three times or more."""
    import time

    time.sleep(0.4)


def test_a_jetsons_input_rail_is_its_power(tmp_path: Path) -> None:
    """5 V and 1.2 A; the other rails are behind it."""
    rails = {1: ("VDD_IN", 5000, 1200), 2: ("VDD_CPU_GPU_CV", 5000, 400)}
    meter = ina3221.open_meter(chip(tmp_path, rails))
    assert meter.over(a_moment).watts == pytest.approx(6.0)
    assert meter.source == "INA3221 (VDD_IN)"


def test_where_there_is_no_input_rail_all_are_added(tmp_path: Path) -> None:
    rails = {
        1: ("VDD_GPU_SOC", 19000, 100),
        2: ("VDD_CPU_CV", 19000, 50),
        3: ("NC", 1, 1),
    }
    meter = ina3221.open_meter(chip(tmp_path, rails))
    assert meter.over(a_moment).watts == pytest.approx(2.85)
    assert meter.source == "INA3221 (VDD_GPU_SOC + VDD_CPU_CV)"


PRINTED = """
 3V3_SYS_A current(1)=0.10000000A
 VDD_CORE_A current(7)=2.00000000A
 3V3_SYS_V volt(9)=3.30000000V
 VDD_CORE_V volt(15)=0.75000000V
 EXT5V_V volt(24)=5.10000000V
"""


def test_a_pi_5s_rails_are_volts_times_amperes() -> None:
    """3.3 V x 0.1 A and 0.75 V x 2 A; the supply has no current to it."""
    assert pmic.watts_of(PRINTED) == pytest.approx(1.83)
    assert pmic.watts_of("VDD_CORE_V=0.5V\nVDD_CORE_A=2A\n") == pytest.approx(1.0)
    with pytest.raises(NoMeterError):
        pmic.watts_of('error=1 error_msg="Command not registered"')
    meter = pmic.open_meter(Path("/"), lambda _: PRINTED)
    assert meter.over(a_moment).watts == pytest.approx(1.83)
    with pytest.raises(NoMeterError, match="no vcgencmd"):
        pmic.open_meter(Path("/"), lambda _: None)


def test_an_external_log_is_integrated_between_two_moments(tmp_path: Path) -> None:
    """A ramp from 0 to 10 W over 10 s: from 2 to 6 s that is 16 J."""
    log = tmp_path / "power.csv"
    lines = [f"{second},{second}" for second in range(11)]
    log.write_text("time,watts\n" + "\n".join(lines) + "\n", encoding="ascii")
    assert between(read_log(log), 2.0, 6.0, "log") == pytest.approx(16.0)
    assert between(read_log(log), 2.5, 2.75, "log") == pytest.approx(0.25 * 2.625)
    times = iter([2.0, 6.0])
    meter = LogMeter(log, clock=lambda: next(times))
    spent = meter.over(lambda: None)
    assert (spent.joules, spent.seconds) == (pytest.approx(16.0), 4.0)


def test_a_log_that_ends_too_early_or_has_a_gap_counts_nothing(tmp_path: Path) -> None:
    log = tmp_path / "power.csv"
    log.write_text("0,1\n1,1\n9,1\n", encoding="ascii")
    with pytest.raises(NoMeterError, match="does not cover"):
        between(read_log(log), 0.5, 10.0, "log")
    with pytest.raises(NoMeterError, match=r"gap of 8\.0 s"):
        between(read_log(log), 0.5, 2.0, "log")
    waits: list[float] = []
    meter = LogMeter(log, clock=lambda: 20.0, sleep=waits.append)
    with pytest.raises(NoMeterError, match="does not cover"):
        meter.over(lambda: None)
    assert sum(waits) == pytest.approx(5.0)


@pytest.mark.parametrize("line", ["1;2", "one,2", "1,nan", "1,-2", "1,2,3", "inf,1"])
def test_a_line_that_is_no_sample_is_named(tmp_path: Path, line: str) -> None:
    log = tmp_path / "power.csv"
    log.write_text(f"0,1\n{line}\n", encoding="ascii")
    with pytest.raises(InputRejectedError, match="line 2 is"):
        read_log(log)


def test_a_log_that_goes_back_in_time_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "power.csv"
    log.write_text("5,1\n4,1\n", encoding="ascii")
    with pytest.raises(InputRejectedError, match="back in time"):
        read_log(log)


def test_the_first_meter_that_is_there_is_taken(tmp_path: Path) -> None:
    zones(tmp_path, 1, 1)
    assert open_meter("auto", tmp_path).source.startswith("RAPL")
    with pytest.raises(NoMeterError, match="INA3221: no such chip"):
        open_meter("ina3221", tmp_path)
    with pytest.raises(RecipeError, match="known: auto, rapl"):
        open_meter("oscilloscope", tmp_path)
    with pytest.raises(NoMeterError, match=r"RAPL: no .*; INA3221: no .*; PMIC: no "):
        open_meter("auto", tmp_path / "bare")
