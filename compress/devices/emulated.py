"""ARM emulated: an arm64 Debian unpacked in the cache, its programs run by QEMU.

Nothing is installed in it and nobody has to be root: Debian's packages and the wheels
are only unpacked (downloaded once), and QEMU's user mode finds libraries there. Answers
and counts of instructions are those of an ARM core; times are not, and are not taken.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from compress.devices.debian import unpack
from compress.shared import hold, making, places
from runtime.drafts import draft_of
from runtime.errors import DeviceError, MissingDependencyError, RecipeError
from runtime.files import cache_folder
from runtime.printable import printable
from runtime.programs import run_program

# Debian 12: Python 3.11 and glibc 2.36, for which the wheels are chosen below.
_SUITE: Final = "bookworm"
_PYTHON: Final = ("3.11", "cp311")
_GLIBC: Final = (36, 35, 34, 31, 28, 27, 26, 24, 17)  # 2.x of the wheels that it takes
_PACKAGES: Final = ("python3-minimal", "libpython3.11-stdlib", "libstdc++6", "libgomp1")
_KIND: Final = "arm64"  # of these entries of the cache
_UNPACK_S: Final = 900.0  # within which a slow mirror has served 40 MB
_V80: Final = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_V82: Final = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm "
    "lrcpc dcpop asimddp"
)


@dataclass(frozen=True)
class _Core:
    """What Linux says of a core in /proc/cpuinfo (Arm's reference manuals)."""

    features: str
    part: int
    variant: int


# Libraries choose kernels by /proc/cpuinfo, and QEMU before 8.2 hands out the host's.
CORES: Final[Mapping[str, _Core]] = {
    "cortex-a72": _Core(features=_V80, part=0xD08, variant=0),
    "cortex-a76": _Core(features=_V82, part=0xD0B, variant=4),
}


def needed(program: str, package: str, *, what: str) -> str:
    """Where `program` is; a MissingDependencyError that names Debian's package."""
    found = shutil.which(program)
    if found is None:
        raise MissingDependencyError(
            f"{what}: needs {program}, which is not installed; run: "
            f"apt-get install {package}"
        )
    return found


def root() -> Path:
    """Unpack a small arm64 Debian with Python, once: about 20 s and 75 MB."""
    return _unpacked("root-" + _SUITE, _PACKAGES, architecture="arm64")


def qemu(*, plugin: bool = False) -> str:
    """QEMU's emulator of arm64: the one installed, else unpacked, once.

    plugin: it has to load plugins, which a statically linked one, as is unpacked,
    cannot; then a MissingDependencyError if none is installed.
    """
    installed = shutil.which("qemu-aarch64")
    if installed is not None or plugin:
        return needed("qemu-aarch64", "qemu-user", what="emulated ARM")
    here = {"x86_64": "amd64"}.get(platform.machine(), platform.machine())
    entry = _unpacked("qemu-" + _SUITE, ("qemu-user-static",), architecture=here)
    return str(entry / "usr/bin/qemu-aarch64-static")


def site(requirements: Sequence[str]) -> Path:
    """Unpack wheels for arm64, once for each set of `requirements`, as pip reads them.

    They are found under this folder as on any PYTHONPATH.
    """
    name = "site-" + sha256("\n".join(sorted(requirements)).encode()).hexdigest()[:16]
    entry = _entry(name)
    if entry is not None:
        return entry
    version, abi = _PYTHON
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile"]
    words += ["--timeout=20", "--retries=2"]
    words += ["--only-binary=:all:", "--implementation=cp", "--abi=none", "--abi=abi3"]
    words += [f"--python-version={version}", f"--abi={abi}", "--platform=any"]
    words += ["--disable-pip-version-check", "--platform=manylinux2014_aarch64"]
    words += [f"--platform=manylinux_2_{minor}_aarch64" for minor in _GLIBC]
    return _made(name, [*words, *sorted(requirements), "--target"])


def emulated(  # noqa: PLR0913  # each a fact of the run
    words: Sequence[str],
    *,
    cpu: str,
    packages: Path,
    patience_s: float,
    plugin: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run arm64's Python with `words` on an emulated `cpu`, one of CORES.

    packages: a `site`. plugin: of QEMU, with its arguments. The program sees no
    variable of ours but `environment`, and the same addresses each time, where the
    machine allows that. DeviceError if it takes longer than `patience_s`.
    """
    program = qemu(plugin=plugin is not None)
    prefix = _view(cpu)
    start = [*_fixed_addresses(), program, "-cpu", cpu, "-seed", "1", "-L", str(prefix)]
    if plugin is not None:
        start += ["-plugin", plugin]
    python = str(root() / f"usr/bin/python{_PYTHON[0]}")
    variables = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": "/nonexistent",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(packages),
        **(environment or {}),
    }
    try:
        return run_program(
            [*start, python, *words], env=variables, patience_s=patience_s
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"emulated {cpu}: not done after {patience_s:.0f} s; a smaller input or an "
            "idle machine is faster"
        ) from error


def cpuinfo(cpu: str, *, cores: int) -> str:
    """What /proc/cpuinfo says on a machine with `cores` of `cpu`."""
    core = CORES[cpu]
    return "".join(
        f"processor\t: {number}\nBogoMIPS\t: 100.00\nFeatures\t: {core.features}\n"
        "CPU implementer\t: 0x41\nCPU architecture: 8\n"
        f"CPU variant\t: {core.variant:#x}\nCPU part\t: {core.part:#x}\n"
        "CPU revision\t: 1\n\n"
        for number in range(cores)
    )


def _view(cpu: str, *, cores: int = 4) -> Path:
    """The root as a machine with cores of one kind sees it: links, and facts of them.

    Two kinds can so be emulated at once.
    """
    if cpu not in CORES:
        raise RecipeError(f"cpu {cpu!r}: not known; known: {', '.join(CORES)}")
    base = root()
    view = base / "views" / cpu
    if (view / "usr").exists():
        return view
    (base / "views").mkdir(exist_ok=True)
    with draft_of(view) as draft, suppress(OSError):  # another process made it
        (draft / "proc").mkdir(parents=True)
        (draft / "proc" / "cpuinfo").write_text(cpuinfo(cpu, cores=cores))
        lists = draft / "sys" / "devices" / "system" / "cpu"
        lists.mkdir(parents=True)
        for name in ("possible", "present", "online"):
            (lists / name).write_text(f"0-{cores - 1}\n")
        for name in ("bin", "etc", "lib", "sbin", "usr"):
            (draft / name).symlink_to(Path("..") / ".." / name)
        draft.rename(view)
    return view


def _fixed_addresses() -> list[str]:
    """Words that start a program at the same addresses each time, where allowed."""
    setarch = shutil.which("setarch")
    if setarch is None:
        return []
    words = [setarch, "-R"]
    tried = subprocess.run(  # noqa: S603  # a fixed program, no shell
        [*words, sys.executable, "-c", ""], capture_output=True, check=False, timeout=60
    )
    return words if tried.returncode == 0 else []


def _unpacked(name: str, packages: Sequence[str], *, architecture: str) -> Path:
    """Debian packages as an entry of the cache."""
    entry = _entry(name)
    if entry is not None:
        return entry
    return _kept(
        name,
        lambda to: unpack(packages, to, suite=_SUITE, architecture=architecture),
    )


def _entry(name: str) -> Path | None:
    """An entry of the cache that is whole, held while this process lives.

    Its programs are run, so what another user made in a shared cache is left alone.
    """
    for entry in places(cache_folder() / _KIND / name):
        whole = entry / _WHOLE
        if entry.is_dir() and whole.exists() and whole.stat().st_uid == os.getuid():
            _HELD[name] = hold(entry)
            return entry
    return None


def _made(name: str, words: Sequence[str]) -> Path:
    """Make an entry of the cache by a program whose last word is where it unpacks."""

    def made(to: Path) -> None:
        try:
            done = subprocess.run(  # noqa: S603  # our own words, no shell
                [*words, str(to)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_UNPACK_S,
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"arm64: {Path(words[0]).name} not done after {_UNPACK_S:.0f} s; is "
                "there a network?"
            ) from error
        if done.returncode != 0:
            raise DeviceError(
                f"arm64: {Path(words[0]).name} failed: {_last_line(done.stderr)}"
            )

    return _kept(name, made)


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """An entry of the cache with what `make` put into the folder that it was given."""
    entry = places(cache_folder() / _KIND / name)[-1]
    with making(entry) as held, draft_of(entry / "draft") as draft:
        make(draft)
        if not (entry / _WHOLE).exists():
            for path in draft.iterdir():
                path.rename(entry / path.name)
            (entry / _WHOLE).touch()
        _HELD[name] = held
    return entry


def _last_line(said: bytes) -> str:
    """The last thing that a program complained about."""
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if line]
    wrong = [line for line in lines if line.startswith(("E: ", "ERROR: "))]
    return printable((wrong or lines or ["it said nothing"])[-1])[:400]


_WHOLE: Final = ".whole"  # lies in an entry that was unpacked to the end
_HELD: Final[dict[str, object]] = {}
