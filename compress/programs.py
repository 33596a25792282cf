"""Which programs that are no Python libraries are here, and what each is good for.

Each is looked for as the verb that needs it looks for it, so the doctor finds what that
verb will find.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import SubprocessError
from typing import Final

from compress.devices.engine import engine
from compress.prediction.cycles import OLDEST, installed
from runtime.backends import trtexec_words
from runtime.errors import DeviceError, MissingDependencyError
from runtime.programs import run_program

_ANSWERED_S: Final = 30.0
_VERSION: Final = re.compile(r"TensorRT v\d+|\d+(?:\.\d+)+\w*")
_PREDICTIONS: Final = "predictions: --as rpi4|rpi5"


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that verbs start.

    packages: Debian's that bring it; find: where it is, None or a
    MissingDependencyError if it is not, DeviceError if it cannot be used; ask: words on
    which it says its version.
    """

    name: str
    packages: str
    enables: str
    find: Callable[[], str | None]
    ask: str = "--version"


PROGRAMS: Final = (
    Program(
        name="ssh",
        packages="openssh-client",
        enables="boards over SSH: --device NAME",
        find=lambda: shutil.which("ssh"),
        ask="-V",
    ),
    Program(
        name="docker",
        packages="docker.io",
        enables="containers: --device docker:arm64",
        find=lambda: engine().program,
    ),
    Program(
        name="qemu-aarch64",
        packages="qemu-user",
        enables=_PREDICTIONS,
        find=lambda: shutil.which("qemu-aarch64"),
    ),
    Program(
        name="cc",
        packages="gcc libc6-dev",
        enables=_PREDICTIONS,
        find=lambda: shutil.which("cc"),
    ),
    Program(
        name="llvm-mca",
        packages=f"llvm-{OLDEST}",
        enables=_PREDICTIONS,
        find=lambda: next((each.mca for each in installed()), None),
    ),
    Program(
        name=trtexec_words.PROGRAM,
        packages="libnvinfer-bin",
        enables="NVIDIA GPUs: --runtime trtexec",
        find=trtexec_words.located,
        ask=trtexec_words.WHO,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A program, and its version if it is here; reason: why it cannot be used."""

    program: Program
    version: str | None
    reason: str | None = None

    @property
    def missing(self) -> bool:
        """Whether it is not here at all."""
        return self.version is None and self.reason is None

    def cells(self) -> tuple[str, str, str, str]:
        """A row of the doctor's table."""
        state = "missing" if self.missing else self.version or "no answer"
        return ("program", self.program.name, state, self.program.enables)

    def as_record(self) -> dict[str, str | None]:
        """Plain data, for scripts."""
        return {
            "name": self.program.name,
            "enables": self.program.enables,
            "version": self.version,
            "reason": self.reason,
            "install": install_line(self.program.packages),
        }


def install_line(*packages: str) -> str:
    """The command that installs Debian's `packages`."""
    return " ".join(["apt-get install", *packages])


def programs_here() -> tuple[Seen, ...]:
    """Look for each, and ask it for its version."""
    return tuple(map(_seen, PROGRAMS))


def _seen(program: Program) -> Seen:
    """What there is of one."""
    try:
        place = program.find()
    except MissingDependencyError:
        place = None
    except DeviceError as error:
        return Seen(program=program, version=None, reason=str(error))
    if place is None:
        return Seen(program=program, version=None)
    version = _version(place, program.ask)
    if version is None:
        return Seen(program=program, version=None, reason=f"{place}: does not run")
    # Podman stands in for Docker.
    other = Path(place).name if program.name not in Path(place).name else ""
    return Seen(program=program, version=f"{other} {version}".strip())


def _version(place: str, ask: str) -> str | None:
    """What the program at `place` says of itself; None if it says nothing of use."""
    try:
        done = run_program([place, ask], patience_s=_ANSWERED_S)
    except (OSError, SubprocessError):
        return None
    said = _VERSION.search((done.stdout + done.stderr).decode("utf-8", "replace"))
    return said[0] if said else None
