"""Measure sessions: one after the other, in turn to compare them, or for minutes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Literal

import numpy as np

from runtime.bootstrap import Samples, estimate
from runtime.errors import RecipeError
from runtime.layouts import Reopen, series_in_layouts
from runtime.long_run import LongRun, long_run
from runtime.machine import this_machine
from runtime.measurement import Comparison, Measurement
from runtime.session import Session
from runtime.taking import Seen, Taken, calls_of, measurements_of, untimed, watched
from runtime.timeline import course
from runtime.timing import Call, Clock, Nanoseconds, Series, sample, timed

FEWEST_RUNS: Final = 10
# Before a run of minutes, which tells by itself when it was not warm yet.
_WARM_UP: Final = 10


def measure(  # noqa: PLR0913  # what a plan says, and a clock
    sessions: Mapping[str, Session],
    *,
    rng: np.random.Generator,
    runs: int = 200,
    seconds: float | None = None,
    runtime: str | None = None,
    clock: Clock = time.perf_counter_ns,
) -> tuple[Measurement, ...]:
    """Measure each session by itself, in the mapping's order; keys name them.

    `runs` inferences of one batch of random numbers after the warm-up, or, if given,
    `seconds` for each. Measurements that mean nothing are a DeviceError. Under
    emulation, here and below, nothing is timed: see `Measurement`. `runtime`: what the
    sessions were opened with, for the process of its own in which memory is measured.
    """
    _check(runs=runs, seconds=seconds)
    machine = this_machine()
    if machine.emulator is not None:
        return untimed(sessions, machine, rng=rng)
    found: list[Measurement] = []
    for name, session in sessions.items():
        alone = {name: session}
        series, seen = _series(alone, runs=runs, seconds=seconds, rng=rng, clock=clock)
        taken = Taken(series, seen, machine, runtime)
        found += measurements_of(alone, taken, rng=rng)
    return tuple(found)


def measure_long(  # noqa: PLR0913  # as above
    sessions: Mapping[str, Session],
    *,
    mode: Literal["certified", "sustained"],
    seconds: float,
    rng: np.random.Generator,
    runtime: str | None = None,
    clock: Clock = time.perf_counter_ns,
) -> tuple[Measurement, ...]:
    """Measure each session for `seconds` without a pause; see `runtime.long_run`."""
    machine = this_machine()
    if machine.emulator is not None:
        return untimed(sessions, machine, rng=rng)
    found: list[Measurement] = []
    for name, session in sessions.items():
        (call,) = calls_of({name: session}, rng)
        warmup = np.zeros((1, _WARM_UP), np.int64)
        order = np.zeros((_WARM_UP, 1), np.int64)

        def run(
            call: Call = call, warmup: Nanoseconds = warmup, order: Nanoseconds = order
        ) -> tuple[Nanoseconds, LongRun]:
            timed([call], order, warmup, clock=clock)
            return long_run(call, mode=mode, seconds=seconds, clock=clock)

        (samples, long), seen = watched(run, name)
        series = Series(
            np.concatenate([warmup, samples[None]], axis=1),
            _WARM_UP,
            steady=course(long.windows).verdict == "steady",
        )
        taken = Taken(series, seen, machine, runtime)
        (one,) = measurements_of({name: session}, taken, rng=rng)
        found.append(replace(one, long=long))
    return tuple(found)


def measure_together(  # noqa: PLR0913  # as above
    sessions: Mapping[str, Session],
    *,
    rng: np.random.Generator,
    runs: int = 200,
    seconds: float | None = None,
    runtime: str | None = None,
    reopen: Reopen | None = None,
    clock: Clock = time.perf_counter_ns,
) -> tuple[tuple[Measurement, ...], tuple[Comparison, ...]]:
    """Measure two or more sessions in turn, and compare the first with each other one.

    Every round runs each session once, in random order, so that whatever slows the
    machine meets all alike; the ratio is the median of the rounds' ratios. With
    `reopen`, files are loaded anew between parts of it: see `runtime.layouts`.
    """
    _check(runs=runs, seconds=seconds)
    if len(sessions) < 2:  # noqa: PLR2004  # a comparison has two sides
        raise RecipeError(f"compare: {len(sessions)} file given; give two or more")
    machine = this_machine()
    if machine.emulator is not None:
        return untimed(sessions, machine, rng=rng), ()
    if reopen is None:
        series, seen = _series(
            sessions, runs=runs, seconds=seconds, rng=rng, clock=clock
        )
    else:
        series, seen = watched(
            partial(
                series_in_layouts,
                sessions,
                reopen=reopen,
                runs=runs,
                seconds=seconds,
                rng=rng,
                clock=clock,
            ),
            ", ".join(sessions),
        )
    taken = Taken(series, seen, machine, runtime)
    measurements = measurements_of(sessions, taken, rng=rng)
    return measurements, compared(list(sessions), series, rng=rng)


def compared(
    names: Sequence[str], series: Series, *, rng: np.random.Generator
) -> tuple[Comparison, ...]:
    """The first row of a series with each other one, round by round."""
    steady = series.samples_ns[:, series.start :].astype(np.float64)
    return tuple(
        Comparison(
            a=names[0],
            b=name,
            ratio=estimate(steady[0] / steady[index], _medians, rng),
        )
        for index, name in enumerate(names)
        if index
    )


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
) -> tuple[Series, Seen]:
    """Sample the sessions together."""
    calls = calls_of(sessions, rng)
    return watched(
        lambda: sample(calls, runs=runs, seconds=seconds, rng=rng, clock=clock),
        ", ".join(sessions),
    )
