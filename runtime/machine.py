"""The machine a number was measured on; plain files of Linux, nothing to install.

`python -m runtime.machine` prints its record, for whoever asks from afar.
"""

import json
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Literal

from runtime.backends.table import distributions
from runtime.container import container, cpu_quota
from runtime.power_mode import clocks_locked, power_mode
from runtime.sysfs import text as _read

# Instruction sets that decide which INT8 or float kernel an interpreter picks.
_FEATURES: Final = frozenset(
    {
        *("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl"),
        *("avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16"),
        *("neon", "vfpv4", "asimd", "asimdhp", "asimddp"),
        *("i8mm", "bf16", "sve", "sve2"),
    }
)
# Arm's part numbers (MIDR_EL1) of the boards that edge devices are made of.
_ARM_PARTS: Final = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd40": "Neoverse-V1",
    "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse-N2",
    "0x004": "NVIDIA Carmel",
}
# What decides the speed of INT8, by the words that people use for it.
_INT8_FEATURES: Final = {
    "VNNI": ("avx512_vnni", "avx_vnni"),
    "AMX": ("amx_int8",),
    "AVX2": ("avx2",),
    "i8mm": ("i8mm",),
    "dot product": ("asimddp",),
    "fp16": ("asimdhp",),
    "SVE": ("sve",),
}
# Programs that run another CPU's instructions: names of a process's real executable.
_EMULATORS: Final = ("qemu-", "box64", "box86", "FEXInterpreter")
# CPU names under full emulation or translation: QEMU's TCG, Apple's Rosetta.
_EMULATED_CPUS: Final = ("QEMU TCG", "VirtualApple")
# A kernel of the first kind runs programs of the second without emulation.
_ALSO_NATIVE: Final = {
    "aarch64": ("aarch64", "arm64", "armv7l", "armv8l"),
    "x86_64": ("x86_64", "amd64", "i686", "i386"),
}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Facts about a machine; None where the machine does not say."""

    cpu: str
    arch: str
    cores: int  # that this process may use
    features: tuple[str, ...]
    governor: str | None
    memory_bytes: int | None
    os: str
    python: str
    versions: Mapping[str, str] = field(default_factory=dict)
    board: str | None = None
    emulator: str | None = None  # what says that instructions are emulated
    container: str | None = None  # the engine that this process runs in
    cpu_quota: float | None = None  # cores' worth of time that it may use there
    power_mode: str | None = None  # a Jetson's, by nvpmodel
    clocks_locked: bool | None = None  # the clock cannot fall (jetson_clocks)

    @property
    def kind(self) -> Literal["native", "emulated"]:
        """Whether a time taken here says anything about a machine of this kind."""
        return "native" if self.emulator is None else "emulated"

    @property
    def name(self) -> str:
        """The board if it has a name, else the processor."""
        return self.board or self.cpu

    def as_record(self) -> dict[str, object]:
        """Plain data, for reports."""
        return {**asdict(self), "features": list(self.features), "kind": self.kind}

    def as_text(self) -> str:
        """One line for people."""
        memory = (
            ""
            if self.memory_bytes is None
            else f", {self.memory_bytes / 1e9:.1f} GB of memory"
        )
        board = f"{self.board}: " if self.board else ""
        return (
            f"{board}{self.cpu} ({self.arch}), {self.cores} cores{memory}, "
            f"governor {self.governor or 'unknown'}, {self.os}, "
            f"Python {self.python}" + "".join(f", {each}" for each in self._notes())
        )

    def _notes(self) -> list[str]:
        """What is worth a word where it is so."""
        sets = [
            name
            for name, flags in _INT8_FEATURES.items()
            if not set(flags).isdisjoint(self.features)
        ]
        found = [f"with {' and '.join(sets)}"] if sets else []
        if self.power_mode is not None:
            locked = ", clocks locked" if self.clocks_locked else ", clocks free"
            found.append(f"power mode {self.power_mode}{locked}")
        if self.container is not None:
            quota = f", {self.cpu_quota:g} cores' time" if self.cpu_quota else ""
            found.append(f"in a container ({self.container}{quota})")
        if self.emulator is not None:
            found.append(f"emulated ({self.emulator})")
        return found


def this_machine(root: Path = Path("/")) -> Machine:
    """Look around; `root` is where /proc and /sys are found."""
    cpuinfo = _read(root / "proc/cpuinfo") or ""
    cpu = _cpu(cpuinfo)
    return Machine(
        cpu=cpu,
        arch=platform.machine(),
        cores=_cores(),
        features=_features(cpuinfo),
        governor=_read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        memory_bytes=_memory_bytes(_read(root / "proc/meminfo") or ""),
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions=_versions(),
        board=_read(root / "proc/device-tree/model"),
        emulator=_emulator(root, arch=platform.machine(), cpu=cpu, cpuinfo=cpuinfo),
        container=container(root),
        cpu_quota=cpu_quota(root),
        power_mode=power_mode(root),
        clocks_locked=clocks_locked(root),
    )


def _values(cpuinfo: str, key: str) -> list[str]:
    """What /proc/cpuinfo says under `key`, a core each."""
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    return [value.strip() for name, _, value in pairs if name.strip() == key]


def _cpu(cpuinfo: str) -> str:
    """The processor's name; ARM kernels give a part number instead.

    Beside it, some of them say "ARMv8 Processor rev 3", which is no name.
    """
    parts = dict.fromkeys(_values(cpuinfo, "CPU part"))
    names = _values(cpuinfo, "model name")
    if names and set(parts).isdisjoint(_ARM_PARTS):
        return names[0]
    if parts:
        return " + ".join(_ARM_PARTS.get(part, f"ARM part {part}") for part in parts)
    return platform.processor() or platform.machine()


def _features(cpuinfo: str) -> tuple[str, ...]:
    """The instruction sets among `_FEATURES`, sorted."""
    lines = _values(cpuinfo, "flags") or _values(cpuinfo, "Features")
    return tuple(sorted(_FEATURES & set(lines[0].split()))) if lines else ()


def _cores() -> int:
    """Cores this process may use; fewer than the machine has under `taskset`."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes(meminfo: str) -> int | None:
    """All memory of the machine."""
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _versions() -> dict[str, str]:
    """Versions of the interpreters that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("numpy", *distributions()):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _emulator(root: Path, *, arch: str, cpu: str, cpuinfo: str) -> str | None:
    """What gives an emulator away, or None on a real processor.

    QEMU's user emulation hides /proc/self/exe and the kernel's name, but not the same
    link below /proc/self/task, nor /proc/sys/kernel/arch (Linux 6.1).
    """
    tasks = root / "proc/self/task"
    try:
        task = next(tasks.iterdir())
        program = Path((task / "exe").readlink()).name
    except (OSError, StopIteration):
        program = ""
    if program.startswith(_EMULATORS):
        return program
    if any(mark in cpu for mark in _EMULATED_CPUS):
        return cpu
    kernel = _read(root / "proc/sys/kernel/arch")
    if kernel and arch not in _ALSO_NATIVE.get(kernel, (kernel,)):
        return f"{arch} program on a {kernel} kernel"
    if arch.startswith(("aarch64", "arm")) and _values(cpuinfo, "vendor_id"):
        return f"{arch} program on an x86 processor"
    return None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(this_machine().as_record()) + "\n")
