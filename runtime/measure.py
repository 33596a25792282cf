"""Measure sessions: one after the other, or in turn to compare them."""

import time
from collections.abc import Mapping

import numpy as np

from runtime.bootstrap import Samples, estimate, percentile
from runtime.disturbance import Disturbance, watch
from runtime.errors import DeviceError, EdgepressError, RecipeError, one_line
from runtime.machine import Machine, this_machine
from runtime.measurement import Comparison, Measurement
from runtime.memory import Memory, memory_of
from runtime.session import Session
from runtime.timing import Clock, Series, sample

FEWEST_RUNS = 10


def measure(
    sessions: Mapping[str, Session],
    *,
    rng: np.random.Generator,
    runs: int = 200,
    seconds: float | None = None,
    clock: Clock = time.perf_counter_ns,
) -> tuple[Measurement, ...]:
    """Measure each session by itself, in the mapping's order; keys name them.

    `runs` inferences of one batch of random numbers after the warm-up, or, if given,
    `seconds` for each. Measurements that mean nothing are a DeviceError.
    """
    _check(runs=runs, seconds=seconds)
    machine = this_machine()
    found: list[Measurement] = []
    for name, session in sessions.items():
        series, seen = _series(
            {name: session}, runs=runs, seconds=seconds, rng=rng, clock=clock
        )
        found += _measurements({name: session}, series, seen, machine, rng=rng)
    return tuple(found)


def measure_together(
    sessions: Mapping[str, Session],
    *,
    rng: np.random.Generator,
    runs: int = 200,
    seconds: float | None = None,
    clock: Clock = time.perf_counter_ns,
) -> tuple[tuple[Measurement, ...], tuple[Comparison, ...]]:
    """Measure two or more sessions in turn, and compare the first with each other one.

    Every round runs each session once, in random order, so that whatever slows the
    machine meets all alike; the ratio is the median of the rounds' ratios.
    """
    _check(runs=runs, seconds=seconds)
    if len(sessions) < 2:  # noqa: PLR2004  # a comparison has two sides
        raise RecipeError(f"compare: {len(sessions)} file given; give two or more")
    series, seen = _series(sessions, runs=runs, seconds=seconds, rng=rng, clock=clock)
    measurements = _measurements(sessions, series, seen, this_machine(), rng=rng)
    names = list(sessions)
    steady = series.samples_ns[:, series.start :].astype(np.float64)
    comparisons = tuple(
        Comparison(
            a=names[0],
            b=name,
            ratio=estimate(steady[0] / steady[index], _medians, rng),
        )
        for index, name in enumerate(names)
        if index
    )
    return measurements, comparisons


def _medians(drawn: Samples) -> Samples:
    """The median of each resample."""
    return np.asarray(np.median(drawn, axis=-1))


def _check(*, runs: int, seconds: float | None) -> None:
    """Refuse what no percentile can come of."""
    if runs < FEWEST_RUNS:
        raise RecipeError(
            f"runs: {runs}; allowed: {FEWEST_RUNS} or more (p99 wants 200 or more)"
        )
    if seconds is not None and not 0 < seconds < float("inf"):
        raise RecipeError(f"seconds: {seconds}; allowed: more than 0")


def _series(
    sessions: Mapping[str, Session],
    *,
    runs: int,
    seconds: float | None,
    rng: np.random.Generator,
    clock: Clock,
) -> tuple[Series, Disturbance]:
    """Sample the sessions together, on random numbers as images."""
    calls = [
        session.bind(rng.standard_normal(session.input_shape, dtype=np.float32))
        for session in sessions.values()
    ]
    so_far = watch()
    try:
        series = sample(calls, runs=runs, seconds=seconds, rng=rng, clock=clock)
    except EdgepressError:
        raise
    except Exception as error:  # interpreters raise what they like
        raise DeviceError(
            f"{', '.join(sessions)}: the interpreter failed while running: "
            f"{one_line(error)}"
        ) from error
    return series, so_far()


def _measurements(
    sessions: Mapping[str, Session],
    series: Series,
    seen: Disturbance,
    machine: Machine,
    *,
    rng: np.random.Generator,
) -> tuple[Measurement, ...]:
    """A Measurement for each row of the series."""
    found = []
    for (name, session), row in zip(sessions.items(), series.samples_ns, strict=True):
        steady = row[series.start :]
        floats = steady.astype(np.float64)
        found.append(
            Measurement(
                artifact_sha256=session.artifact.sha256,
                file=name,
                runtime=session.runtime,
                threads=session.threads,
                machine=machine,
                load_ms=session.load_ms,
                memory=_memory(session, machine),
                warmup_ns=tuple(row[: series.start].tolist()),
                samples_ns=tuple(steady.tolist()),
                steady=series.steady,
                disturbance=seen,
                p50=percentile(floats, 50, rng),
                p90=percentile(floats, 90, rng),
                p99=percentile(floats, 99, rng),
            )
        )
    return tuple(found)


def _memory(session: Session, machine: Machine) -> Memory | None:
    """Memory that the session's file needs, from a process of its own.

    A process started under emulation may well run without it, or not at all.
    """
    if machine.emulator is not None:
        return None
    return memory_of(session.artifact.path, threads=session.threads)
