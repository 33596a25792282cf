"""What was measured, where, and what there is to doubt about it."""

from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np

from runtime.bootstrap import Estimate
from runtime.disturbance import Disturbance
from runtime.machine import Machine
from runtime.memory import Memory

# Fewer runs than this and a p99 rests on one sample or none.
ENOUGH_RUNS: Final = 200
# pyperf calls a benchmark unstable when its standard deviation exceeds a tenth of its
# mean (pyperf, `BenchmarkSuite` checks).
_SPREAD: Final = 0.10
# Median of the last quarter against the first: twice what counts as steady.
_DRIFT: Final = 0.05
_EVICTIONS_PER_RUN: Final = 0.10
_STEAL: Final = 0.01
_OTHERS_CORES: Final = 0.20


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The latency of one file on one machine; every sample is kept, in order."""

    artifact_sha256: str
    file: str
    runtime: str
    threads: int
    machine: Machine
    load_ms: float
    memory: Memory | None
    warmup_ns: tuple[int, ...]
    samples_ns: tuple[int, ...]
    steady: bool
    disturbance: Disturbance
    p50: Estimate  # ns, like the next two
    p90: Estimate
    p99: Estimate

    @property
    def kind(self) -> Literal["native", "emulated"]:
        """An emulated measurement is no latency."""
        return self.machine.kind

    @property
    def p50_ms(self) -> float:
        """The median latency."""
        return self.p50.value / 1e6

    @property
    def p90_ms(self) -> float:
        """The latency that 90 of 100 inferences do not exceed."""
        return self.p90.value / 1e6

    @property
    def p99_ms(self) -> float:
        """The latency that 99 of 100 inferences do not exceed."""
        return self.p99.value / 1e6

    def doubts(self) -> tuple[str, ...]:
        """Reasons to distrust this measurement, as sentences, if there are any."""
        return (
            *self._doubts_of_place(),
            *self._doubts_of_samples(),
            *self._neighbours(),
        )

    def as_record(self) -> dict[str, object]:
        """The entry of report.json; times in ms, samples in ns."""
        record: dict[str, object] = {
            "artifact_sha256": self.artifact_sha256,
            "path": self.file,
            "runtime": self.runtime,
            "device": self.machine.name,
            "kind": self.kind,
            "threads": self.threads,
            "runs": len(self.samples_ns),
            "warmup_runs": len(self.warmup_ns),
            "steady": self.steady,
            "load_ms": self.load_ms,
            "peak_rss_bytes": self.memory.peak_rss_bytes if self.memory else None,
            "model_rss_bytes": self.memory.model_rss_bytes if self.memory else None,
            "doubts": list(self.doubts()),
            "machine": self.machine.as_record(),
            "disturbance": asdict(self.disturbance),
            "warmup_ns": list(self.warmup_ns),
            "samples_ns": list(self.samples_ns),
        }
        for name, ns in (("p50", self.p50), ("p90", self.p90), ("p99", self.p99)):
            ms = ns.scaled(1e-6)
            record[f"{name}_ms"] = ms.value
            record[f"{name}_low_ms"] = ms.low
            record[f"{name}_high_ms"] = ms.high
        return record

    def _doubts_of_place(self) -> list[str]:
        """What speaks against the machine as such."""
        found = []
        machine = self.machine
        if machine.emulator is not None:
            found.append(
                f"instructions were emulated ({machine.emulator}): these times are not "
                "latencies of any device"
            )
        if machine.governor not in ("performance", None):
            found.append(f"CPU governor is {machine.governor!r}, not 'performance'")
        if self.threads > machine.cores:
            found.append(
                f"{self.threads} threads shared {machine.cores} cores; "
                "use --threads of at most that"
            )
        if self.memory is None:
            found.append("peak memory is unknown: no process of its own could be made")
        return found

    def _doubts_of_samples(self) -> list[str]:
        """What the samples say against themselves."""
        samples = np.asarray(self.samples_ns, np.float64)
        found = []
        if len(samples) < ENOUGH_RUNS:
            found.append(f"only {len(samples)} runs; p99 wants {ENOUGH_RUNS} or more")
        if not self.steady:
            found.append(
                f"latency never became steady in "
                f"{len(self.warmup_ns) + len(samples)} runs; the last "
                f"{len(samples)} are reported"
            )
        spread = samples.std() / samples.mean()
        if spread > _SPREAD:
            found.append(
                f"latency varies by {spread:.0%} of its mean; fix the clock, quiet the "
                "machine or add --runs"
            )
        quarter = max(1, len(samples) // 4)
        drift = np.median(samples[-quarter:]) / np.median(samples[:quarter]) - 1
        if abs(drift) > _DRIFT:
            verb, why = (
                ("rose", "the machine may be throttling as it heats up")
                if drift > 0
                else ("fell", "it may not have been warm yet")
            )
            found.append(
                f"latency {verb} by {abs(drift):.0%} from the first quarter of the "
                f"runs to the last; {why}"
            )
        if self.disturbance.throttled:
            found.append("the processor throttled during the measurement; let it cool")
        return found

    def _neighbours(self) -> list[str]:
        """What else ran on the machine."""
        seen = self.disturbance
        found = []
        runs = len(self.samples_ns) + len(self.warmup_ns)
        if seen.evictions is not None and seen.evictions > _EVICTIONS_PER_RUN * runs:
            found.append(
                "noisy neighbour: the scheduler took a core away "
                f"{seen.evictions} times in {runs} runs"
            )
        if seen.steal_fraction is not None and seen.steal_fraction > _STEAL:
            found.append(
                "noisy neighbour: the hypervisor took "
                f"{seen.steal_fraction:.0%} of a core's time for other guests"
            )
        if seen.others_cores is not None and seen.others_cores > _OTHERS_CORES:
            found.append(
                "noisy neighbour: other processes kept "
                f"{seen.others_cores:.1f} of {self.machine.cores} cores busy"
            )
        return found


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How many times as long `a` takes as `b`, measured in turn on one machine."""

    a: str
    b: str
    ratio: Estimate

    def as_record(self) -> dict[str, object]:
        """The entry of the contract's `comparisons`."""
        return {
            "a": self.a,
            "b": self.b,
            "ratio": self.ratio.value,
            "low": self.ratio.low,
            "high": self.ratio.high,
        }

    def as_text(self) -> str:
        """One sentence; the faster one is its subject."""
        ratio = self.ratio
        if ratio.low <= 1 <= ratio.high:
            return (
                f"{self.a} and {self.b} are equally fast as far as can be told "
                f"(time ratio {ratio.value:.3f}, 95 % interval "
                f"{ratio.low:.3f} to {ratio.high:.3f})"
            )
        fast, slow = (self.b, self.a) if ratio.value > 1 else (self.a, self.b)
        times = sorted(
            value if ratio.value > 1 else 1 / value for value in (ratio.low, ratio.high)
        )
        middle = ratio.value if ratio.value > 1 else 1 / ratio.value
        return (
            f"{fast} is {middle:.2f}x as fast as {slow} "
            f"(95 % interval {times[0]:.2f} to {times[1]:.2f})"
        )
