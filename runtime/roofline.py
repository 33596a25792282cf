"""The roofline model: what share of the machine's peak a file reaches, and of which.

Williams, Waterman & Patterson 2009: an inference takes at least the longer of its
arithmetic at peak speed and its bytes at peak bandwidth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from runtime.peaks import Peaks
from runtime.typed import Between

_Count = Annotated[int, Between(0, 2**62)]
_BAR: Final = 30


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """Of one file: what it computes and moves, and the peaks of that session.

    macs, bytes_moved: of an inference; None where they could not be counted.
    int8: whether it is held against the peak of INT8.
    """

    peaks: Peaks
    int8: bool
    macs: _Count | None
    bytes_moved: _Count | None
    working_bytes: _Count | None

    def compute_ms(self) -> float | None:
        """What its arithmetic takes at least."""
        peak = self.peaks.int8_gmacs if self.int8 else self.peaks.float_gmacs
        return self.macs / peak / 1e6 if self.macs and peak else None

    def memory_ms(self) -> float | None:
        """What its bytes take at least; nothing where the cache holds all of them."""
        if self.bytes_moved is None or self.working_bytes is None:
            return None
        cache = self.peaks.cache_bytes
        if cache is not None and self.working_bytes <= cache:
            return 0.0
        return self.bytes_moved / self.peaks.gbs / 1e6

    def bound_ms(self) -> float | None:
        """What an inference takes at least by the model; None: not counted."""
        times = [self.compute_ms(), self.memory_ms()]
        known = [each for each in times if each is not None]
        return max(known) if len(known) == len(times) else None


def table(rows: Sequence[tuple[str, Roofline, float | None]]) -> list[str]:
    """The files' shares of the roofline as a table with bars; 80 columns.

    rows: name, roofline, measured p50 in ms.
    """
    lines = [
        f"{'roofline':<20}{'MMACs':>9}{'MB':>7}{'least ms':>10}  share of the bound",
    ]
    lines.append("-" * 80)
    for name, roof, p50_ms in rows:
        bound = roof.bound_ms()
        macs = "?" if roof.macs is None else f"{roof.macs / 1e6:.1f}"
        moved = "?" if roof.bytes_moved is None else f"{roof.bytes_moved / 1e6:.1f}"
        head = f"{_short(name):<20}{macs:>9}{moved:>7}"
        if bound is None or p50_ms is None:
            lines.append(f"{head}{'?':>10}  unknown: {_why(roof, p50_ms)}")
            continue
        share = bound / p50_ms
        bar = "#" * min(_BAR, round(share * _BAR))
        by = "compute" if bound == roof.compute_ms() else "memory"
        lines.append(f"{head}{bound:>10.3f}  {bar:<19.19} {share:>4.0%} {by}")
    return lines


def _why(roof: Roofline, p50_ms: float | None) -> str:
    """Why there is no share."""
    if p50_ms is None:
        return "no latency"
    if roof.macs is None:
        return "its layers are not told"
    return "no INT8 peak here"


def _short(name: str) -> str:
    """The end of a long name."""
    limit = 19
    return name if len(name) <= limit else "…" + name[1 - limit :]
