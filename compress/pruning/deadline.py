"""A cut that keeps a latency: chosen by a table, measured, chosen again if late."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from compress.measuring import machine_of
from compress.passes import passed
from compress.pruning.latency import latency_table, probe_widths
from compress.pruning.racing import SENTENCE, Racer, scaled
from compress.pruning.stopwatch import RUNTIME, LocalStopwatch
from compress.pruning.timed_files import TimedFiles, narrowed
from compress.pruning.tradeoff import traded
from runtime.target import LOCAL, int8_target, target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx
    from torch import Tensor, nn

    from compress.job import Job
    from compress.models.model import Model
    from compress.pruning.latency import Make
    from compress.pruning.latency_table import LatencyTable
    from compress.pruning.layout import Kept, Layout
    from compress.pruning.stopwatch import Stopwatch
    from compress.stages.prune import Prune

# Of the widths that layers are timed at, the share that files are raced at.
_EVERY: Final = 2
# Files that are measured before the best of them has to do.
_TRIES: Final = 3
# What is aimed at, a share of what is wanted: another day's measurement differs a bit.
_AIM: Final = 0.98
# A cut that is faster than it has to be by more than this is given channels back.
_CLOSE: Final = 0.95


@dataclass(frozen=True, kw_only=True)
class Timely:
    """Widths chosen for a latency, and how long the network takes at them.

    predicted_ms: what the table said, which knows nothing of this very network;
    measured_ms, whole_ms: of its file and the whole network's, run in turn.
    """

    kept: tuple[int, ...]
    wanted_ms: float
    predicted_ms: float
    measured_ms: float
    whole_ms: float

    def as_record(self) -> dict[str, float]:
        """Plain data, for reports."""
        return {
            "wanted_ms": self.wanted_ms,
            "predicted_ms": self.predicted_ms,
            "measured_ms": self.measured_ms,
            "whole_ms": self.whole_ms,
        }

    def as_text(self) -> str:
        """One line for people."""
        return (
            f"{self.measured_ms:.2f} ms measured, {self.predicted_ms:.2f} ms "
            f"predicted, {self.wanted_ms:.2f} ms wanted, {self.whole_ms:.2f} ms before"
        )


@dataclass(kw_only=True)
class Deadline:
    """A latency budget somewhere, for one network and whatever is cut out of it.

    file: a network as it would be shipped; maker: the same of one network at any
    widths, by default by exporting each; race: networks where they are going to run, by
    default their files by the stopwatch; latency: as a share of `whole`'s own;
    latency_ms counts where that is None; table: of the layers, once they were timed.
    """

    whole: nn.Module
    file: Callable[[nn.Module], onnx.ModelProto]
    stopwatch: Stopwatch
    maker: Callable[[nn.Module, Layout], Make] | None = None
    race: Callable[[Sequence[nn.Module]], list[float]] | None = None
    latency: float | None
    latency_ms: float | None
    job: Job
    table: LatencyTable | None = None

    @cached_property
    def whole_file(self) -> onnx.ModelProto:
        """The whole network as it would be shipped."""
        return self.file(self.whole)

    def choose(
        self,
        net: nn.Module,
        layout: Layout,
        scores: Sequence[Tensor],
        *,
        allowed: Sequence[Sequence[int]],
        share: float,
    ) -> Timely:
        """Widths of `net`, a share of the way down from the whole network's latency.

        Of the networks that were measured, the slowest that is in time; where the table
        was too hopeful, it is corrected by what was measured and asked again.
        """

        def at(kept: Kept) -> nn.Module:
            return narrowed(net, layout, kept)

        def alone(kept: Kept) -> onnx.ModelProto:
            return self.file(at(kept))

        make = alone if self.maker is None else self.maker(net, layout)
        table = self.table_of(layout, make, at)
        race = self.raced(make, at)
        (whole_ms,) = race()
        tried: list[Timely] = []
        hope = 1.0
        for _ in passed("measuring widths", range(_TRIES), timing=True):
            kept = traded(
                layout,
                scores,
                table.layer_ms,
                most=_AIM * self.wanted_ms(whole_ms, share) / hope,
                allowed=allowed,
                unit=" ms",
            )
            whole_ms, measured_ms = race(kept)
            found = Timely(
                kept=tuple(kept),
                wanted_ms=self.wanted_ms(whole_ms, share),
                predicted_ms=table.ms(layout.layers(kept)),
                measured_ms=measured_ms,
                whole_ms=whole_ms,
            )
            tried.append(found)
            self.job.screen.detail(f"prune: {found.as_text()}")
            if _CLOSE <= measured_ms / found.wanted_ms <= 1:
                break
            hope = measured_ms / found.predicted_ms
        best = min(tried, key=_lateness)
        self.job.screen.tell(f"prune: {best.as_text()}")
        return best

    def table_of(
        self, layout: Layout, make: Make, at: Callable[[Kept], nn.Module]
    ) -> LatencyTable:
        """The table of the layers, made once: timed here, scaled to what is raced."""
        if self.table is not None:
            return self.table
        self.job.screen.tell("prune: timing the network's layers")
        self.table = latency_table(layout, make, self.stopwatch, cache=self.job.cache)
        if self.race is not None:
            widths = probe_widths(layout, np.random.default_rng(0))[::_EVERY]
            device = self.job.aim.device or "this runtime"
            self.job.screen.tell(SENTENCE.format(device=device, files=len(widths)))
            whole_ms = self.race([at(kept) for kept in widths])
            layers = [layout.layers(kept) for kept in widths]
            self.table = scaled(self.table, layers, whole_ms)
        return self.table

    def raced(
        self, make: Make, at: Callable[[Kept], nn.Module]
    ) -> Callable[..., list[float]]:
        """What times the whole network, and others at given widths, in turn."""

        def race(*widths: Kept) -> list[float]:
            if self.race is not None:
                return self.race([self.whole, *map(at, widths)])
            return self.stopwatch.race([self.whole_file, *map(make, widths)])

        return race

    def wanted_ms(self, whole_ms: float, share: float) -> float:
        """The latency after `share` of the work, in equal factors."""
        if self.latency_ms is None:
            end_ms = whole_ms * (self.latency or 1.0)
        else:
            end_ms = min(self.latency_ms, whole_ms)
        return float(whole_ms * (end_ms / whole_ms) ** share)


def _lateness(found: Timely) -> tuple[bool, float]:
    """In time before late, and then as near as may be."""
    return found.measured_ms > found.wanted_ms, abs(found.measured_ms - found.wanted_ms)


def deadline_of(model: Model, job: Job, options: Prune) -> Deadline | None:
    """The latency budget of a recipe; None if it asks for something else."""
    if options.latency is None and options.latency_ms is None:
        return None
    wanted = target(options.target)
    if job.aim.device is not None and wanted.name == LOCAL:
        wanted = int8_target(machine_of(job.aim.device))
    # What this machine's stopwatch times already has to be raced nowhere else.
    here = job.aim.device is None and wanted.runtime == RUNTIME
    files = TimedFiles(size=model.preprocess.size, name=model.spec.name, aim=job.aim)
    rng = np.random.default_rng(job.seed)
    return Deadline(
        whole=model.net,
        file=files.whole,
        maker=files.maker,
        race=None if here else Racer(target=wanted, model=model, job=job),
        stopwatch=LocalStopwatch(rng, dtype=job.aim.dtype),
        latency=options.latency,
        latency_ms=options.latency_ms,
        job=job,
    )
