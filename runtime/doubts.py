"""What there is to doubt about a measurement, as sentences; and what makes it invalid.

Invalid, so exit code 7 unless it is kept by `--force`: in every mode a machine that
says it throttled; in certified and sustained mode also a latency that drifted by more
than 5 % or was unsteady, and in certified mode too short a run or too few queries. In
quick mode drift, spread and busy neighbors are doubts: two hundred inferences on a
shared machine show them now and then, and the interval beside the number holds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from runtime.plan import CERTIFIED_S
from runtime.timeline import DRIFT, course

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.measurement import Measurement

# Fewer runs than this and a p99 rests on one sample or none.
ENOUGH_RUNS: Final = 200
# pyperf calls a benchmark unstable when its standard deviation exceeds a tenth of its
# mean (pyperf, `BenchmarkSuite` checks).
_SPREAD: Final = 0.10
_EVICTIONS_PER_RUN: Final = 0.10
_STEAL: Final = 0.01
_OTHERS_CORES: Final = 0.20


def faults(found: Measurement) -> Iterator[str]:
    """Why a measurement is invalid; nothing where it is valid, or was refused."""
    if found.kind == "emulated":
        return
    if found.disturbance.throttled:
        yield "the machine throttled during the measurement; let it cool"
    run = found.long
    if run is None:
        return
    seen = course(run.windows)
    if seen.verdict != "steady" and not found.disturbance.throttled:
        yield seen.as_text()
    if run.mode == "certified":
        if run.seconds < CERTIFIED_S:
            yield (
                f"it ran for {run.seconds:.1f} s; certified wants "
                f"{CERTIFIED_S:.0f} s or more"
            )
        if run.early_stopping is None:
            yield "fewer than 64 queries have no early-stopping estimate"


def doubts(found: Measurement) -> Iterator[str]:
    """Reasons to distrust a measurement that are no faults."""
    yield from _of_place(found)
    if found.samples_ns:
        yield from _of_samples(found)
    if found.kind == "native":
        yield from _of_neighbors(found)
    if found.energy is not None:
        yield from found.energy.doubts()


def _of_place(found: Measurement) -> Iterator[str]:
    """What speaks against the machine as such."""
    machine = found.machine
    if machine.emulator is not None:
        yield (
            f"instructions were emulated ({machine.emulator}), so latency is refused: "
            "it would be that of no device. What can be told here: whether the file "
            "computes what was trained (python -m runtime FILE --check), and predicted "
            "milliseconds (compress profile FILE --as rpi5)"
        )
        return
    if machine.governor not in ("performance", None) and not machine.clocks_locked:
        yield f"CPU governor is {machine.governor!r}, not 'performance'"
    if found.threads > machine.cores:
        yield (
            f"{found.threads} threads shared {machine.cores} cores; "
            "use --threads of at most that"
        )
    if machine.cpu_quota is not None and found.threads > machine.cpu_quota:
        yield (
            f"{found.threads} threads shared {machine.cpu_quota:g} cores' worth of "
            "time, which is this container's limit"
        )
    if found.memory is None:
        yield "peak memory is unknown: no process of its own could be made"


def _of_samples(found: Measurement) -> Iterator[str]:
    """What the samples say against themselves."""
    samples = np.asarray(found.samples_ns, np.float64)
    if len(samples) < ENOUGH_RUNS:
        yield f"only {len(samples)} runs; p99 wants {ENOUGH_RUNS} or more"
    if not found.steady and found.long is None:
        yield (
            f"latency never became steady in "
            f"{len(found.warmup_ns) + len(samples)} runs; the last "
            f"{len(samples)} are reported"
        )
    spread = samples.std() / samples.mean()
    if spread > _SPREAD:
        yield (
            f"latency varies by {spread:.0%} of its mean; fix the clock, quiet the "
            "machine or add --runs"
        )
    quarter = max(1, len(samples) // 4)
    drift = np.median(samples[-quarter:]) / np.median(samples[:quarter]) - 1
    if abs(drift) > DRIFT and found.long is None:  # whose timeline says it better
        verb, why = (
            ("rose", "the machine may be throttling as it heats up")
            if drift > 0
            else ("fell", "it may not have been warm yet")
        )
        yield (
            f"latency {verb} by {abs(drift):.0%} from the first quarter of the "
            f"runs to the last; {why}"
        )


def _of_neighbors(found: Measurement) -> Iterator[str]:
    """What else ran on the machine."""
    seen = found.disturbance
    runs = len(found.samples_ns) + len(found.warmup_ns)
    if found.long is not None:
        runs = sum(each.runs for each in found.long.windows)
    if seen.evictions is not None and seen.evictions > _EVICTIONS_PER_RUN * runs:
        yield (
            "noisy neighbor: the scheduler took a core away "
            f"{seen.evictions} times in {runs} runs"
        )
    if seen.steal_fraction is not None and seen.steal_fraction > _STEAL:
        yield (
            "noisy neighbor: the hypervisor took "
            f"{seen.steal_fraction:.0%} of a core's time for other guests"
        )
    if seen.others_cores is not None and seen.others_cores > _OTHERS_CORES:
        yield (
            "noisy neighbor: other processes kept "
            f"{seen.others_cores:.1f} of {found.machine.cores} cores busy"
        )
    if seen.quota_pauses:
        yield f"the container's CPU quota stopped it {seen.quota_pauses} times"
