"""Measurements and machines read back from records, which may come from anywhere."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated

from runtime.bootstrap import Estimate
from runtime.clocks import Conditions
from runtime.disturbance import Disturbance
from runtime.energy import Energy
from runtime.errors import InputRejectedError
from runtime.layer_times import LayerTime
from runtime.long_run import LongRun
from runtime.machine import Machine
from runtime.measurement import Comparison, Measurement
from runtime.memory import Memory
from runtime.phases import ColdStart, Edges
from runtime.plain_json import json_record
from runtime.profiled import Profile
from runtime.roofline import Roofline
from runtime.typed import Between, record_as

_Bytes = Annotated[int, Between(0, 2**62)]
_Ms = Annotated[float, Between(0, 1e12)]
_Ns = Annotated[int, Between(0, 2**62)]
_Count = Annotated[int, Between(0, 2**31)]
_Ratio = Annotated[float, Between(0, 1e12)]


@dataclass(frozen=True, kw_only=True)
class _Machine:
    """The record of a Machine."""

    cpu: str
    arch: str
    cores: _Count
    features: tuple[str, ...]
    governor: str | None
    memory_bytes: _Bytes | None
    os: str
    python: str
    versions: Mapping[str, str]
    board: str | None = None
    emulator: str | None = None
    container: str | None = None
    cpu_quota: Annotated[float, Between(0, 1e6)] | None = None
    power_mode: str | None = None
    clocks_locked: bool | None = None


@dataclass(frozen=True, kw_only=True)
class _Measurement:
    """The record of a Measurement; what follows from the rest is not read."""

    artifact_sha256: str
    path: str
    runtime: str
    threads: _Count
    machine: Mapping[str, object]
    load_ms: _Ms | None
    peak_rss_bytes: _Bytes | None
    model_rss_bytes: _Bytes | None
    warmup_ns: tuple[_Ns, ...]
    samples_ns: tuple[_Ns, ...]
    steady: bool
    disturbance: Disturbance
    p50_ms: _Ms | None
    p50_low_ms: _Ms | None
    p50_high_ms: _Ms | None
    p90_ms: _Ms | None
    p90_low_ms: _Ms | None
    p90_high_ms: _Ms | None
    p99_ms: _Ms | None
    p99_low_ms: _Ms | None
    p99_high_ms: _Ms | None
    start: ColdStart | None = None
    edges: Edges | None = None
    conditions: Conditions | None = None
    long: LongRun | None = None
    energy: Energy | None = None
    roofline: Roofline | None = None
    answers: str | None = None
    layers: tuple[LayerTime, ...] | None = None

    def __post_init__(self) -> None:
        """There is no measurement without a sample, unless latency was refused."""
        refused = self.machine.get("emulator") is not None
        if not self.threads or (bool(self.samples_ns) is refused):
            raise ValueError("one sample or more, by one thread or more")
        if self.long is not None and not self.long.windows:
            raise ValueError("a long run with one window or more")
        if not refused and None in map(self.percentile, ("p50", "p90", "p99")):
            raise ValueError("samples and their percentiles")

    def percentile(self, name: str) -> Estimate | None:
        """A percentile in ns again; None where latency was refused."""
        ends = [getattr(self, f"{name}{end}_ms") for end in ("", "_low", "_high")]
        return None if None in ends else Estimate(*ends).scaled(1e6)


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    """The record of a Comparison."""

    a: str
    b: str
    ratio: _Ratio
    low: _Ratio
    high: _Ratio


def read_machine(record: object, *, source: str) -> Machine:
    """The Machine that `Machine.as_record` described; InputRejectedError if none."""
    found = record_as(_Machine, record, source=source, others="ignored")
    return Machine(**{each.name: getattr(found, each.name) for each in fields(found)})


def read_measurement(record: object, *, source: str) -> Measurement:
    """The Measurement that `Measurement.as_record` described, times in ns again.

    Raises InputRejectedError for what is none.
    """
    found = record_as(_Measurement, record, source=source, others="ignored")
    peak, model = found.peak_rss_bytes, found.model_rss_bytes
    memory = (
        None
        if peak is None or model is None
        else Memory(peak_rss_bytes=peak, model_rss_bytes=model)
    )
    return Measurement(
        artifact_sha256=found.artifact_sha256,
        file=found.path,
        runtime=found.runtime,
        threads=found.threads,
        machine=read_machine(found.machine, source=f"{source}: machine"),
        load_ms=found.load_ms,
        memory=memory,
        warmup_ns=found.warmup_ns,
        samples_ns=found.samples_ns,
        steady=found.steady,
        disturbance=found.disturbance,
        p50=found.percentile("p50"),
        p90=found.percentile("p90"),
        p99=found.percentile("p99"),
        start=found.start,
        edges=found.edges,
        conditions=found.conditions,
        long=found.long,
        energy=found.energy,
        roofline=found.roofline,
        answers=found.answers,
        layers=found.layers,
    )


@dataclass(frozen=True, kw_only=True)
class _Cores:
    """Of a Profile: the cores that it was pinned to."""

    cores: tuple[_Count, ...] = ()


def read_profile(text: str | bytes, *, source: str) -> Profile:
    """The Profile that `Profile.as_json` wrote; InputRejectedError if it is none."""
    record = json_record(text, source=source)
    parts = {}
    for key in ("measurements", "comparisons"):
        found = record.get(key)
        if not isinstance(found, list) or (key == "measurements" and not found):
            raise InputRejectedError(f"{source}: {key} is missing; allowed: a list")
        parts[key] = found
    compared = [
        record_as(_Comparison, each, source=f"{source}: comparisons", others="ignored")
        for each in parts["comparisons"]
    ]
    cores = record_as(_Cores, record, source=source, others="ignored").cores
    return Profile(
        cores=cores,
        forced=record.get("forced") is True,
        measurements=tuple(
            read_measurement(each, source=f"{source}: measurements[{index}]")
            for index, each in enumerate(parts["measurements"])
        ),
        comparisons=tuple(
            Comparison(a=each.a, b=each.b, ratio=_ratio(each)) for each in compared
        ),
    )


def _ratio(found: _Comparison) -> Estimate:
    """The ratio and its interval."""
    return Estimate(found.ratio, found.low, found.high)
