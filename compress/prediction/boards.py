"""Boards whose latency is predicted: core, clock, and what is missing, calibrated.

Static analysis leaves caches, memory and branches out. On one core they cost about the
same share of each network of a kind, so one factor a core, from published latencies of
other networks, stands for all of it; how far that carries is the held-out error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from compress.prediction.cycles import Form
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


def calibration(name: str) -> Calibration:
    """The calibration of a board, as the benchmark wrote it."""
    record = read_json(CALIBRATION)
    boards = record.get("boards")
    if not isinstance(boards, Mapping) or name not in boards:
        raise InputRejectedError(
            f"{CALIBRATION}: has no {name!r}; install edgepress again"
        )
    return record_as(
        Calibration, boards[name], source=f"{CALIBRATION}: {name}", others="ignored"
    )
