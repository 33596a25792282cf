"""What a machine says of its clocks, on trees of /sys and /proc of our own."""

from pathlib import Path

import pytest

from runtime import clocks, container, power_mode, throttling
from runtime.machine import this_machine


def written(root: Path, files: dict[str, object]) -> Path:
    """Files below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")
    return root


FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
INTEL = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
TEGRA = "sys/class/hwmon/hwmon3/oc1_event_cnt"
COOLING = "sys/class/thermal/cooling_device0"


@pytest.mark.parametrize(
    ("before", "after", "held_back"),
    [
        ({}, {}, None),
        ({FIRMWARE: "0"}, {FIRMWARE: "0"}, False),
        ({FIRMWARE: "0"}, {FIRMWARE: "0x50000"}, True),  # it was, in between
        ({FIRMWARE: "50000"}, {FIRMWARE: "50000"}, False),  # it was, before that
        ({FIRMWARE: "50005"}, {FIRMWARE: "50000"}, True),  # it was, at the start
        ({FIRMWARE: "none"}, {FIRMWARE: "none"}, None),
        ({INTEL: "7"}, {INTEL: "7"}, False),
        ({INTEL: "7"}, {INTEL: "8"}, True),
        ({TEGRA: "0"}, {TEGRA: "3"}, True),
        (
            {f"{COOLING}/type": "cpufreq-cpu0", f"{COOLING}/cur_state": "0"},
            {f"{COOLING}/cur_state": "2"},
            True,
        ),
        (
            {f"{COOLING}/type": "pwm-fan", f"{COOLING}/cur_state": "0"},
            {f"{COOLING}/cur_state": "2"},
            None,
        ),
    ],
)
def test_throttling_is_what_began_between_two_looks(
    tmp_path: Path,
    before: dict[str, object],
    after: dict[str, object],
    held_back: bool | None,
) -> None:
    first = throttling.flags(written(tmp_path, before))
    second = throttling.flags(written(tmp_path, after))
    assert throttling.began(first, second) is held_back


def test_the_firmwares_bits_have_names(tmp_path: Path) -> None:
    """0x80005: under-voltage and throttled now, a soft limit some time ago."""
    found = throttling.flags(written(tmp_path, {FIRMWARE: "80005"}))
    assert found.now == ("under-voltage", "throttled")
    assert found.ever == ("soft temperature limit",)


def test_clock_and_temperature_are_a_mean_and_a_maximum(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    written(
        tmp_path,
        {
            f"{cpu}/cpu0/cpufreq/scaling_cur_freq": 1_500_000,
            f"{cpu}/cpu1/cpufreq/scaling_cur_freq": 1_800_000,
            "sys/class/thermal/thermal_zone0/temp": 51_000,
            "sys/class/thermal/thermal_zone1/temp": 62_500,
            "sys/class/thermal/thermal_zone2/temp": -256_000,  # asleep
        },
    )
    found = clocks.state(tmp_path)
    assert (found.clock_mhz, found.temperature_c) == (1650.0, 62.5)
    assert found.as_text() == "1650 MHz, 62 C"
    assert clocks.state(tmp_path / "nothing") == clocks.State()


def test_without_cpufreq_the_clock_is_what_cpuinfo_says(tmp_path: Path) -> None:
    cpuinfo = "cpu MHz\t\t: 2000.0\n\ncpu MHz\t\t: 2500.0"
    written(tmp_path, {"proc/cpuinfo": cpuinfo})
    assert clocks.state(tmp_path).clock_mhz == 2250.0


@pytest.mark.parametrize(
    ("files", "environ", "engine"),
    [
        ({}, {}, None),
        ({".dockerenv": ""}, {}, "docker"),
        ({"run/.containerenv": 'engine="podman"'}, {}, "podman"),
        ({"run/systemd/container": "lxc"}, {}, "lxc"),
        ({}, {"container": "lxc"}, "lxc"),
        ({".dockerenv": ""}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({"proc/self/cgroup": "0::/docker/0123abcd"}, {}, "docker"),
        ({"proc/self/cgroup": "0::/user.slice/session-1.scope"}, {}, None),
        (
            {
                "proc/self/mountinfo": "1 0 0:9 / / rw - overlay overlay "
                "lowerdir=/var/lib/containers/storage/overlay/l/X"
            },
            {},
            "podman",
        ),
    ],
)
def test_the_engine_is_told_from_within(
    tmp_path: Path,
    files: dict[str, object],
    environ: dict[str, str],
    engine: str | None,
) -> None:
    """By what engines leave in a file system, in control groups and in variables."""
    assert container.container(written(tmp_path, files), environ) == engine


def test_a_quota_is_cores_worth_of_time_in_either_hierarchy(tmp_path: Path) -> None:
    two = written(tmp_path / "2", {"sys/fs/cgroup/cpu.max": "150000 100000"})
    assert container.cpu_quota(two) == 1.5
    free = written(tmp_path / "free", {"sys/fs/cgroup/cpu.max": "max 100000"})
    assert container.cpu_quota(free) is None
    one = written(
        tmp_path / "1",
        {
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": 50_000,
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100_000,
            "sys/fs/cgroup/cpu/cpu.stat": "nr_periods 9\nnr_throttled 4",
        },
    )
    assert container.cpu_quota(one) == 0.5
    assert container.quota_pauses(one) == 4


def test_a_jetson_tells_its_power_mode_and_whether_clocks_are_locked(
    tmp_path: Path,
) -> None:
    cpufreq = "sys/devices/system/cpu/cpu0/cpufreq"
    written(
        tmp_path,
        {
            "var/lib/nvpmodel/status": "pmode:0002 fmode:fanNull",
            "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_1 1\n"
            "< POWER_MODEL ID=2 NAME=MAXN_SUPER >",
            f"{cpufreq}/scaling_min_freq": 1_728_000,
            f"{cpufreq}/scaling_max_freq": 1_728_000,
        },
    )
    assert power_mode.power_mode(tmp_path) == "MAXN_SUPER (mode 2)"
    assert power_mode.clocks_locked(tmp_path) is True
    machine = this_machine(tmp_path)
    assert "power mode MAXN_SUPER (mode 2), clocks locked" in machine.as_text()
    written(tmp_path, {f"{cpufreq}/scaling_min_freq": 729_600})
    assert power_mode.clocks_locked(tmp_path) is False


def test_a_machine_without_any_of_it_says_nothing(tmp_path: Path) -> None:
    machine = this_machine(tmp_path)
    assert machine.power_mode is None
    assert machine.clocks_locked is None
    assert machine.cpu_quota is None
