"""Boards whose latency is predicted: core, clock, and what is missing, calibrated.

Static analysis leaves caches, memory and branches out. On one core they cost about the
same share of each network of a kind, so one factor a core, from published latencies of
other networks, stands for all of it; how far that carries is the held-out error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from compress.prediction.cycles import Form, Llvm
from runtime.errors import InputRejectedError, RecipeError
from runtime.files import read_json
from runtime.typed import Between, record_as

# Written by benchmarks/arm_prediction.py, which has the sources.
CALIBRATION: Final = Path(__file__).with_name("calibration.json")


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board: `cpu` as QEMU calls its core, `core` as LLVM does."""

    name: str
    title: str
    cpu: str
    core: str
    ghz: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What predictions are multiplied by, and how far they were off elsewhere.

    form: of the static analysis that it was fitted with.
    error: mean of |predicted / published - 1| over networks that the factor was not
    fitted on; worst: the largest of these.
    """

    factor: Annotated[float, Between(0, 100)]
    error: Annotated[float, Between(0, 10)]
    worst: Annotated[float, Between(0, 10)]
    form: Form
    litert: str
    llvm: str


BOARDS: Final[dict[str, Board]] = {
    # Rev 1.2, which was measured, runs at 1.5 GHz; later revisions at 1.8.
    "rpi4": Board(
        name="rpi4",
        title="Raspberry Pi 4",
        cpu="cortex-a72",
        core="cortex-a72",
        ghz=1.5,
    ),
    # Neoverse N1 is the A76 core with server caches; LLVM has no A76 of its own.
    "rpi5": Board(
        name="rpi5",
        title="Raspberry Pi 5",
        cpu="cortex-a76",
        core="neoverse-n1",
        ghz=2.4,
    ),
}


def board(name: str) -> Board:
    """Look a board up by name; RecipeError if there is none."""
    if name not in BOARDS:
        raise RecipeError(
            f"--as {name}: no predictions for it; known: {', '.join(sorted(BOARDS))}"
        )
    return BOARDS[name]


def calibrations(name: str) -> dict[str, Calibration]:
    """The calibrations of a board, one for each major version of LLVM, by that.

    Its models of one core differ from version to version by as much as 18 %.
    """
    record = read_json(CALIBRATION)
    boards = record.get("boards")
    found = boards.get(name) if isinstance(boards, Mapping) else None
    if not isinstance(found, Mapping) or not found:
        raise InputRejectedError(
            f"{CALIBRATION}: has no {name!r}; install edgepress again"
        )
    return {
        str(major): record_as(
            Calibration, each, source=f"{CALIBRATION}: {name}", others="ignored"
        )
        for major, each in found.items()
    }


def chosen(llvms: Sequence[Llvm], known: Mapping[str, Calibration]) -> Llvm | None:
    """Which of the installed ones to use: the newest that predictions are known for.

    Where there is none, the newest; None where none is installed.
    """
    return next(
        (each for each in llvms if each.major in known), llvms[0] if llvms else None
    )
