"""A limit held against what was found, and how both are said."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal

from runtime.errors import Exit

Bound = Literal["at most", "at least", "more than"]
Unit = Literal["share", "points", "bytes", "ms", "dB"]


def _bytes(count: float) -> str:
    return f"{count:,.0f} bytes"


# How a number of each unit is written; shares and points are fractions in [0, 1].
WRITTEN: Final[Mapping[Unit, Callable[[float], str]]] = {
    "share": lambda value: f"{value * 100:.2f} %",
    "points": lambda value: f"{value * 100:.2f} points",
    "bytes": _bytes,
    "ms": lambda value: f"{value:.3f} ms",
    "dB": lambda value: f"{value:.1f} dB",
}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One limit, what was measured, and whether it is kept.

    file: what is held against it, empty for the network itself; measured: None where
    there is no such number; kept: None where nothing could be judged; low, high: the
    95 % interval of what was measured; default: a limit that nobody asked for;
    exit_code: what a command ends with that misses it; remark: what a reader of the
    sentence should know besides; said: the sentence, where it is not the usual one.
    """

    limit: str
    what: str
    unit: Unit
    bound: Bound
    allowed: float
    measured: float | None
    kept: bool | None
    low: float | None = None
    high: float | None = None
    file: str = ""
    default: bool = False
    exit_code: Exit = Exit.BUDGET
    remark: str = ""
    said: str = ""

    @property
    def sentence(self) -> str:
        """What was found and what is allowed."""
        if self.said:
            return f"{self.file}: {self.said}" if self.file else self.said
        written = WRITTEN[self.unit]
        place = f"{self.file}: " if self.file else ""
        if self.measured is not None:
            found = f"is {written(self.measured)}{self._sure()}"
        else:  # a ratio to no error at all is no number
            found = "is exact" if self.kept else "was not measured"
        allowed = f"{self.bound} {written(self.allowed)}"
        ours = " (a default)" if self.default else ""
        more = f"; {self.remark}" if self.remark else ""
        return f"{place}{self.what} {found}; allowed: {allowed}{ours}{more}"

    def _sure(self) -> str:
        """The interval, in brackets."""
        if self.low is None or self.high is None:
            return ""
        low, high = (WRITTEN[self.unit](each) for each in (self.low, self.high))
        return f" (95 % sure of {low} to {high})"

    def as_record(self) -> dict[str, object]:
        """Plain data, for reports."""
        return {
            **asdict(self),
            "exit_code": int(self.exit_code),
            "sentence": self.sentence,
        }
