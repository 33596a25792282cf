"""Measure sessions: one after the other, in turn to compare them, or for minutes."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

import numpy as np

from runtime.bootstrap import Samples, estimate, percentile
from runtime.clocks import Conditions, state
from runtime.disturbance import Disturbance, watch
from runtime.errors import DeviceError, EdgepressError, RecipeError, one_line
from runtime.fresh import fresh
from runtime.long_run import LongRun, long_run
from runtime.machine import Machine, this_machine
from runtime.measurement import Comparison, Measurement
from runtime.session import Session
from runtime.throttling import flags
from runtime.timeline import course
from runtime.timing import Call, Clock, Nanoseconds, Series, sample, timed

FEWEST_RUNS: Final = 10
# Before a run of minutes, which tells by itself when it was not warm yet.
_WARM_UP: Final = 10
# Under emulation nothing is timed; a few inferences show that the file runs.
_TO_SEE_THAT_IT_RUNS: Final = 3


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
    `seconds` for each. Measurements that mean nothing are a DeviceError. Under
    emulation, here and below, nothing is timed: see `Measurement`.
    """
    _check(runs=runs, seconds=seconds)
    machine = this_machine()
    if machine.emulator is not None:
        return _untimed(sessions, machine, rng=rng)
    found: list[Measurement] = []
    for name, session in sessions.items():
        alone = {name: session}
        series, seen = _series(alone, runs=runs, seconds=seconds, rng=rng, clock=clock)
        found += _measurements(alone, series, seen, machine, rng=rng)
    return tuple(found)


def measure_long(
    sessions: Mapping[str, Session],
    *,
    mode: Literal["certified", "sustained"],
    seconds: float,
    rng: np.random.Generator,
    clock: Clock = time.perf_counter_ns,
) -> tuple[Measurement, ...]:
    """Measure each session for `seconds` without a pause; see `runtime.long_run`."""
    machine = this_machine()
    if machine.emulator is not None:
        return _untimed(sessions, machine, rng=rng)
    found: list[Measurement] = []
    for name, session in sessions.items():
        (call,) = _calls({name: session}, rng)
        warmup = np.zeros((1, _WARM_UP), np.int64)
        order = np.zeros((_WARM_UP, 1), np.int64)

        def run(
            call: Call = call, warmup: Nanoseconds = warmup, order: Nanoseconds = order
        ) -> tuple[Nanoseconds, LongRun]:
            timed([call], order, warmup, clock=clock)
            return long_run(call, mode=mode, seconds=seconds, clock=clock)

        (samples, long), seen = _watched(run, name)
        series = Series(
            np.concatenate([warmup, samples[None]], axis=1),
            _WARM_UP,
            steady=course(long.windows).verdict == "steady",
        )
        (one,) = _measurements({name: session}, series, seen, machine, rng=rng)
        found.append(replace(one, long=long))
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
    machine = this_machine()
    if machine.emulator is not None:
        return _untimed(sessions, machine, rng=rng), ()
    series, seen = _series(sessions, runs=runs, seconds=seconds, rng=rng, clock=clock)
    measurements = _measurements(sessions, series, seen, machine, rng=rng)
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


@dataclass(frozen=True)
class _Seen:
    """What happened around a series."""

    disturbance: Disturbance
    conditions: Conditions


Found = TypeVar("Found")


def _calls(
    sessions: Mapping[str, Session], rng: np.random.Generator
) -> tuple[Call, ...]:
    """An inference of each session on random numbers as images, ready to run."""
    return tuple(
        session.bind(rng.standard_normal(session.input_shape, dtype=np.float32))
        for session in sessions.values()
    )


def _series(
    sessions: Mapping[str, Session],
    *,
    runs: int,
    seconds: float | None,
    rng: np.random.Generator,
    clock: Clock,
) -> tuple[Series, _Seen]:
    """Sample the sessions together."""
    calls = _calls(sessions, rng)
    return _watched(
        lambda: sample(calls, runs=runs, seconds=seconds, rng=rng, clock=clock),
        ", ".join(sessions),
    )


def _watched(run: Callable[[], Found], names: str) -> tuple[Found, _Seen]:
    """What `run` gives, and what happened meanwhile; its failures are DeviceErrors."""
    before, so_far = state(held_back=flags().now), watch()
    try:
        found = run()
    except EdgepressError:
        raise
    except Exception as error:  # interpreters raise what they like
        raise DeviceError(
            f"{names}: the interpreter failed while running: {one_line(error)}"
        ) from error
    disturbance = so_far()
    after = state(held_back=flags().now)
    return found, _Seen(disturbance, Conditions(before=before, after=after))


def _measurements(
    sessions: Mapping[str, Session],
    series: Series,
    seen: _Seen,
    machine: Machine,
    *,
    rng: np.random.Generator,
) -> tuple[Measurement, ...]:
    """A Measurement for each row of the series."""
    found = []
    for (name, session), row in zip(sessions.items(), series.samples_ns, strict=True):
        steady = row[series.start :]
        floats = steady.astype(np.float64)
        alone = fresh(session.artifact.path, threads=session.threads)
        found.append(
            Measurement(
                artifact_sha256=session.artifact.sha256,
                file=name,
                runtime=session.runtime,
                threads=session.threads,
                machine=machine,
                load_ms=session.load_ms,
                memory=alone.memory if alone else None,
                warmup_ns=tuple(row[: series.start].tolist()),
                samples_ns=tuple(steady.tolist()),
                steady=series.steady,
                disturbance=seen.disturbance,
                p50=percentile(floats, 50, rng),
                p90=percentile(floats, 90, rng),
                p99=percentile(floats, 99, rng),
                start=alone.start if alone else None,
                conditions=seen.conditions,
            )
        )
    return tuple(found)


def _untimed(
    sessions: Mapping[str, Session], machine: Machine, *, rng: np.random.Generator
) -> tuple[Measurement, ...]:
    """What can be said of sessions where instructions are emulated: that they run.

    No process of its own tells their memory: it may well run without the emulator.
    """
    found = []
    for (name, session), call in zip(
        sessions.items(), _calls(sessions, rng), strict=True
    ):

        def run(call: Call = call) -> None:
            for _ in range(_TO_SEE_THAT_IT_RUNS):
                call()

        _, seen = _watched(run, name)
        found.append(
            Measurement(
                artifact_sha256=session.artifact.sha256,
                file=name,
                runtime=session.runtime,
                threads=session.threads,
                machine=machine,
                load_ms=None,
                memory=None,
                warmup_ns=(),
                samples_ns=(),
                steady=False,
                disturbance=seen.disturbance,
                p50=None,
                p90=None,
                p99=None,
            )
        )
    return tuple(found)
