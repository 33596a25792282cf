"""A latency that a stage was asked for, held against what the run's file takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from compress.lowrank.record import RECORD as FACTORIZATION
from compress.pipeline.run_directory import stage_folder
from compress.pruning.record import RECORD as PRUNING
from compress.report.records import inner, number
from runtime.checks import Check
from runtime.files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compress.recipe.recipe import Recipe
    from compress.report.records import Record
    from runtime.measurement import Comparison, Measurement

# Of stages that can be asked for a latency.
_RECORDS: Final = (PRUNING, FACTORIZATION)


@dataclass(frozen=True, kw_only=True)
class Promise:
    """A stage's latency for one image on one thread, as it was asked for and foretold.

    share: of the latency of the network that the stage was given; None where
    milliseconds were asked for. wanted_ms: what that came to when the stage ran;
    whole_ms: what that network took then.
    """

    stage: str
    share: float | None
    wanted_ms: float
    predicted_ms: float
    whole_ms: float

    def as_record(self) -> dict[str, object]:
        """Plain data, for the record of the stage."""
        return asdict(self)

    def broken(
        self, measured: Measurement | None, against: Comparison | None
    ) -> str | None:
        """A sentence if the file is slower than asked for, beyond what chance explains.

        `measured`: the file at the end of the run; `against`: the network that the
        stage was given, timed in turn with it, which a share is best judged by. As with
        a budget, a latency that was not measured, or was emulated, is missed.
        """
        if measured is None or measured.p50 is None or measured.faults():
            return f"{self.stage}: latency was not measured; {self._told(None)}"
        if self.share is not None and against is not None:
            ratio = against.ratio
            if 1 / ratio.high <= self.share:
                return None
            return (
                f"{self.stage}: latency is {_percent(1 / ratio.value)} of what it was "
                f"(95 % sure of at least {_percent(1 / ratio.high)}); "
                f"{self._told(self.share)}"
            )
        if (low_ms := measured.p50.scaled(1e-6).low) <= self.wanted_ms:
            return None
        return (
            f"{self.stage}: latency (p50) is {measured.p50_ms:.3f} ms (95 % sure of at "
            f"least {low_ms:.3f} ms); {self._told(None)}"
        )

    def check(
        self, measured: Measurement | None, against: Comparison | None, *, file: str
    ) -> Check:
        """The promise, held against `file`; see `broken`."""
        said = self.broken(measured, against)
        shared = self.share is not None and against is not None
        if shared and against is not None:
            found: float | None = 1 / against.ratio.value
        else:
            found = measured.p50_ms if measured else None
        return Check(
            limit="latency",
            what=f"{self.stage}: latency",
            unit="share" if shared else "ms",
            bound="at most",
            allowed=self.share if shared and self.share else self.wanted_ms,
            measured=found,
            kept=said is None,
            file=file,
            said=said or "",
        )

    def _told(self, share: float | None) -> str:
        """What was asked for and what was foretold, as a share or in milliseconds."""
        asked, foretold = f"{self.wanted_ms:.3f} ms", f"{self.predicted_ms:.3f} ms"
        if share is not None:
            asked = _percent(share)
            foretold = _percent(self.predicted_ms / self.whole_ms)
        return f"asked for: at most {asked}, predicted: {foretold}"


def promises(folder: Path, recipe: Recipe) -> Iterator[tuple[int, Promise]]:
    """What the stages of a run in `folder` were asked for, with the stage's place."""
    for place, (name, _) in enumerate(recipe.steps()):
        for file in _RECORDS:
            path = folder / stage_folder(place + 1, name) / file
            found = inner(read_json(path), "latency") if path.is_file() else {}
            promise = _read(found, stage=name) if found else None
            if promise is not None:
                yield place, promise


def _read(record: Record, *, stage: str) -> Promise | None:
    """What `as_record` wrote; one that lacks a number promises nothing."""
    wanted, predicted, whole = (
        number(record, f"{key}_ms") for key in ("wanted", "predicted", "whole")
    )
    if wanted is None or predicted is None or whole is None:
        return None
    return Promise(
        stage=stage,
        share=number(record, "share"),
        wanted_ms=wanted,
        predicted_ms=predicted,
        whole_ms=whole,
    )


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.1f} %"
