import os
import platform
from pathlib import Path

import pytest

from runtime.disturbance import watch
from runtime.machine import this_machine

X86 = "processor: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\nflags\t: fpu avx2\n"
PI4 = (
    "processor\t: 0\nmodel name\t: ARMv8 Processor rev 3 (v8l)\n"
    "Features\t: fp asimd asimddp\nCPU part\t: 0xd08\n"
)


def tree(root: Path, files: dict[str, str], program: str = "python3.11") -> Path:
    """A /proc and /sys of our own."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    task = root / "proc/self/task/1"
    task.mkdir(parents=True)
    (task / "exe").symlink_to(f"/usr/bin/{program}")
    return root


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")


@pytest.mark.usefixtures("arm")
def test_a_raspberry_pi_is_told_by_board_part_number_and_features(
    tmp_path: Path,
) -> None:
    root = tree(
        tmp_path,
        {
            "proc/cpuinfo": PI4,
            "proc/meminfo": "MemTotal:  1000 kB\n",
            "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        },
    )
    machine = this_machine(root)
    assert machine.cpu == "Cortex-A72"
    assert machine.name == "Raspberry Pi 4 Model B Rev 1.4"
    assert machine.features == ("asimd", "asimddp")
    assert machine.governor == "ondemand"
    assert machine.memory_bytes == 1_024_000
    assert machine.kind == "native"


@pytest.mark.usefixtures("arm")
def test_qemu_is_told_by_the_real_program(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/cpuinfo": PI4}, program="qemu-aarch64-static")
    assert this_machine(root).emulator == "qemu-aarch64-static"
    assert this_machine(root).kind == "emulated"


@pytest.mark.usefixtures("arm")
def test_qemu_is_told_by_the_kernel_or_by_a_foreign_cpuinfo(tmp_path: Path) -> None:
    kernel = tree(
        tmp_path / "a", {"proc/cpuinfo": PI4, "proc/sys/kernel/arch": "x86_64\n"}
    )
    assert this_machine(kernel).emulator == "aarch64 program on a x86_64 kernel"
    foreign = tree(tmp_path / "b", {"proc/cpuinfo": X86})
    assert this_machine(foreign).kind == "emulated"


def test_a_32_bit_program_on_its_own_64_bit_kernel_is_native(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "armv7l")
    root = tree(tmp_path, {"proc/cpuinfo": PI4, "proc/sys/kernel/arch": "aarch64"})
    assert this_machine(root).kind == "native"


def test_a_machine_that_says_nothing_is_described_all_the_same(tmp_path: Path) -> None:
    machine = this_machine(tmp_path)
    assert machine.governor is None
    assert machine.memory_bytes is None
    assert machine.cpu
    assert "unknown" in machine.as_text()


def test_this_machine_has_the_cores_and_memory_that_the_system_reports() -> None:
    machine = this_machine()
    assert machine.cores == len(os.sched_getaffinity(0))
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine.memory_bytes == pytest.approx(pages, rel=0.01)


def test_what_came_together_between_two_moments_is_a_difference(tmp_path: Path) -> None:
    """/proc/stat counts in ticks: 50 of them stolen, 1000 busy elsewhere."""
    stat = tmp_path / "proc/stat"
    stat.parent.mkdir()
    stat.write_text("cpu  100 0 100 5000 0 0 0 10 0 0\n", encoding="ascii")
    until_now = watch(tmp_path)
    stat.write_text("cpu  1000 0 200 5000 0 0 0 60 0 0\n", encoding="ascii")
    seen = until_now()
    ticks = os.sysconf("SC_CLK_TCK")
    assert seen.steal_fraction is not None
    assert seen.others_cores is not None
    assert seen.steal_fraction * seen.seconds == pytest.approx(50 / ticks)
    assert seen.others_cores * seen.seconds == pytest.approx(1000 / ticks, abs=0.1)
    assert seen.throttled is None


@pytest.mark.parametrize("node", ["soc/soc:firmware", "soc@107c/soc@107c:firmware"])
def test_a_raspberry_pi_that_is_held_back_is_noticed(tmp_path: Path, node: str) -> None:
    flags = tmp_path / "sys/devices/platform" / node / "get_throttled"
    flags.parent.mkdir(parents=True)
    flags.write_text("50004\n", encoding="ascii")
    assert watch(tmp_path)().throttled is True
    flags.write_text("50000\n", encoding="ascii")  # it was once; it is not now
    assert not watch(tmp_path)().throttled


def test_a_system_without_counters_gives_none(tmp_path: Path) -> None:
    seen = watch(tmp_path)()
    assert (seen.steal_fraction, seen.others_cores, seen.throttled) == (None,) * 3
