"""Predicted latency as an answer: a record of its own kind, never a measurement."""

import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from runtime.errors import Exit
from runtime.printable import printable

_COLUMNS: Final = 80
_NAME: Final = 40
_SHOWN: Final = 12  # kinds of operators; what is left is added up
_MEANING: Final = (
    "Predicted, not measured: counted instructions of an emulated core, cycles of "
    "LLVM's model of it, and one factor a core for what both leave out (caches, "
    "memory). ± is the mean error on networks that the factor was not fitted on."
)


def plus_minus(error: float) -> str:
    """Such as: ±8 %."""
    return f"±{math.ceil(error * 100)} %"


@dataclass(frozen=True, kw_only=True)
class Share:
    """What all operators of one kind cost together; `times`: how many there are."""

    operator: str
    times: int
    instructions: int
    predicted_ms: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one operator costs."""

    operator: str
    instructions: int
    predicted_ms: float


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a file would take on a board, one thread.

    error: mean held-out error of such predictions, a fraction; worst: the largest.
    by_operator: kinds, the dearest first; operators: each of them, as they ran.
    doubts: why this one may be further off. No field is called latency_ms: that is
    measured.
    """

    file: str
    artifact_sha256: str
    board: str
    core: str
    ghz: float
    runtime: str
    llvm: str
    instructions: int
    cycles: int
    factor: float
    predicted_ms: float
    error: float
    worst: float
    by_operator: tuple[Share, ...]
    operators: tuple[Step, ...]
    doubts: tuple[str, ...] = ()

    def as_record(self) -> dict[str, object]:
        """The prediction as JSON has it."""
        return {**asdict(self), "kind": "predicted", "threads": 1}

    def as_text(self) -> str:
        """Such as: 11.6 ms predicted, ±8 %."""
        return f"{self.predicted_ms:.1f} ms predicted, {plus_minus(self.error)}"


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The answer of `profile --as`."""

    predictions: tuple[Prediction, ...]
    exit_code: int = Exit.FIT

    def as_json(self) -> str:
        """{predictions[{predicted_ms, error, core, …}]}: no measurements in it."""
        record = {"predictions": [each.as_record() for each in self.predictions]}
        return json.dumps(record, indent=2, sort_keys=True)

    def as_text(self) -> str:
        """A table of operators for each file, and what a prediction is; 80 columns."""
        lines: list[str] = []
        for each in self.predictions:
            lines += [*_table(each), ""]
        doubts = dict.fromkeys(
            doubt for each in self.predictions for doubt in each.doubts
        )
        for sentence in (*(f"Doubt: {doubt}." for doubt in doubts), _MEANING):
            lines += textwrap.wrap(sentence, _COLUMNS, subsequent_indent="  ")
        return "\n".join(lines)


def _table(prediction: Prediction) -> list[str]:
    """The whole, then each kind of operator, the dearest first."""
    each = prediction
    lines = textwrap.wrap(
        f"{printable(each.file)} on {each.board} ({each.core}, {each.ghz} GHz): "
        f"{each.as_text()} (at worst {plus_minus(each.worst)})",
        _COLUMNS,
        subsequent_indent="  ",
        break_on_hyphens=False,
    )
    lines.append(
        f"  {each.instructions / 1e6:.1f} M instructions, {each.runtime}, 1 thread"
    )
    if not each.by_operator:
        return [*lines, "  operators could not be told apart"]
    lines += ["", _row("operator", ("times", "M instr.", "pred. ms", "share"))]
    lines.append("-" * len(lines[-1]))
    shown, left = each.by_operator[:_SHOWN], each.by_operator[_SHOWN:]
    lines += [_share(share, each) for share in shown]
    if left:
        lines.append(_share(_added(left), each))
    return lines


def _share(share: Share, whole: Prediction) -> str:
    """One kind of operator."""
    return _row(
        printable(share.operator),
        (
            str(share.times),
            f"{share.instructions / 1e6:.2f}",
            f"{share.predicted_ms:.2f}",
            f"{share.predicted_ms / whole.predicted_ms:.1%}".replace("%", " %"),
        ),
    )


def _added(shares: Sequence[Share]) -> Share:
    """The rest in one line."""
    return Share(
        operator=f"{len(shares)} more kinds",
        times=sum(each.times for each in shares),
        instructions=sum(each.instructions for each in shares),
        predicted_ms=sum(each.predicted_ms for each in shares),
    )


def _row(name: str, cells: Sequence[str]) -> str:
    """One line: a name and numbers."""
    short = name if len(name) <= _NAME else name[: _NAME - 1] + "…"
    return short.ljust(_NAME) + "".join(cell.rjust(10) for cell in cells)
