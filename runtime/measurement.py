"""What was measured, where, and what there is to doubt about it."""

from dataclasses import asdict, dataclass
from typing import Final, Literal

from runtime.bootstrap import Estimate
from runtime.clocks import Conditions
from runtime.disturbance import Disturbance
from runtime.doubts import doubts, faults
from runtime.energy import Energy
from runtime.layer_times import LayerTime
from runtime.long_run import LongRun
from runtime.machine import Machine
from runtime.memory import Memory
from runtime.phases import ColdStart, Edges
from runtime.roofline import Roofline

# One file that is loaded twice differs from itself by less, as memory happens to lie;
# what is not beyond it is called equal (`benchmarks/harness.py` counts false alarms).
ALIKE: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The latency of one file on one machine; every sample is kept, in order.

    Under emulation there is none: no percentile, no sample, no time to load. Of a run
    of minutes `long` says which samples were kept. What a machine or a file does not
    tell, or nobody asked for, is None.
    """

    artifact_sha256: str
    file: str
    runtime: str
    threads: int
    machine: Machine
    load_ms: float | None
    memory: Memory | None
    warmup_ns: tuple[int, ...]
    samples_ns: tuple[int, ...]
    steady: bool
    disturbance: Disturbance
    p50: Estimate | None  # ns, like the next two
    p90: Estimate | None
    p99: Estimate | None
    start: ColdStart | None = None
    edges: Edges | None = None
    conditions: Conditions | None = None
    long: LongRun | None = None
    energy: Energy | None = None
    roofline: Roofline | None = None
    answers: str | None = None  # what the self-test found, where latency is refused
    layers: tuple[LayerTime, ...] | None = None

    @property
    def kind(self) -> Literal["native", "emulated"]:
        """An emulated measurement has no latency."""
        return self.machine.kind

    @property
    def p50_ms(self) -> float | None:
        """The median latency."""
        return None if self.p50 is None else self.p50.value / 1e6

    @property
    def p90_ms(self) -> float | None:
        """The latency that 90 of 100 inferences do not exceed."""
        return None if self.p90 is None else self.p90.value / 1e6

    @property
    def p99_ms(self) -> float | None:
        """The latency that 99 of 100 inferences do not exceed."""
        return None if self.p99 is None else self.p99.value / 1e6

    def faults(self) -> tuple[str, ...]:
        """Why this measurement is invalid, as sentences; empty if it is valid."""
        return tuple(faults(self))

    def doubts(self) -> tuple[str, ...]:
        """Reasons to distrust this measurement, as sentences, its faults first."""
        return (*self.faults(), *doubts(self))

    def as_record(self) -> dict[str, object]:
        """The entry of report.json; times in ms, samples in ns."""
        record: dict[str, object] = {
            "artifact_sha256": self.artifact_sha256,
            "path": self.file,
            "runtime": self.runtime,
            "device": self.machine.name,
            "kind": self.kind,
            "threads": self.threads,
            "mode": "quick" if self.long is None else self.long.mode,
            "runs": len(self.samples_ns),
            "warmup_runs": len(self.warmup_ns),
            "steady": self.steady,
            "load_ms": self.load_ms,
            "peak_rss_bytes": self.memory.peak_rss_bytes if self.memory else None,
            "model_rss_bytes": self.memory.model_rss_bytes if self.memory else None,
            "valid": not self.faults(),
            "faults": list(self.faults()),
            "doubts": list(self.doubts()),
            "machine": self.machine.as_record(),
            "disturbance": asdict(self.disturbance),
            "warmup_ns": list(self.warmup_ns),
            "samples_ns": list(self.samples_ns),
        }
        for name, ns in (("p50", self.p50), ("p90", self.p90), ("p99", self.p99)):
            ms = None if ns is None else ns.scaled(1e-6)
            record[f"{name}_ms"] = ms and ms.value
            record[f"{name}_low_ms"] = ms and ms.low
            record[f"{name}_high_ms"] = ms and ms.high
        return {**record, **self._further()}

    def _further(self) -> dict[str, object]:
        """What not every measurement has."""
        parts = {
            "start": self.start,
            "edges": self.edges,
            "conditions": self.conditions,
            "long": self.long,
            "energy": self.energy,
            "roofline": self.roofline,
        }
        found = {key: asdict(part) if part else None for key, part in parts.items()}
        layers = None if self.layers is None else [asdict(each) for each in self.layers]
        return {**found, "answers": self.answers, "layers": layers}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How many times as long `a` takes as `b`, measured in turn on one machine."""

    a: str
    b: str
    ratio: Estimate

    @property
    def faster(self) -> str | None:
        """The one that is faster by more than `ALIKE`, for sure; None: neither."""
        if self.ratio.low > 1 + ALIKE:
            return self.b
        return self.a if self.ratio.high < 1 / (1 + ALIKE) else None

    def as_record(self) -> dict[str, object]:
        """The entry of the contract's `comparisons`."""
        return {
            "a": self.a,
            "b": self.b,
            "ratio": self.ratio.value,
            "low": self.ratio.low,
            "high": self.ratio.high,
            "faster": self.faster,
        }

    def as_text(self) -> str:
        """One sentence; the faster one is its subject."""
        ratio = self.ratio
        if self.faster is None:
            return (
                f"{self.a} and {self.b} are equally fast as far as can be told "
                f"(time ratio {ratio.value:.3f}, 95 % interval "
                f"{ratio.low:.3f} to {ratio.high:.3f})"
            )
        fast, slow = (self.b, self.a) if self.faster == self.b else (self.a, self.b)
        times = sorted(
            value if ratio.value > 1 else 1 / value for value in (ratio.low, ratio.high)
        )
        middle = ratio.value if ratio.value > 1 else 1 / ratio.value
        return (
            f"{fast} is {middle:.2f}x as fast as {slow} "
            f"(95 % interval {times[0]:.2f} to {times[1]:.2f})"
        )
