"""What is taken around a series: calls, the machine, what else ran, a fresh process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from runtime.bootstrap import percentile
from runtime.clocks import Conditions, state
from runtime.disturbance import Disturbance, watch
from runtime.errors import DeviceError, EdgepressError, one_line
from runtime.fresh import fresh
from runtime.machine import Machine
from runtime.measurement import Measurement
from runtime.session import Session
from runtime.throttling import flags
from runtime.timing import Call, Series

# Under emulation nothing is timed; a few inferences show that the file runs.
_TO_SEE_THAT_IT_RUNS: Final = 3


@dataclass(frozen=True)
class Seen:
    """What happened around a series."""

    disturbance: Disturbance
    conditions: Conditions


Found = TypeVar("Found")


def calls_of(
    sessions: Mapping[str, Session], rng: np.random.Generator
) -> tuple[Call, ...]:
    """An inference of each session on random numbers as images, ready to run."""
    return tuple(
        session.bind(rng.standard_normal(session.input_shape, dtype=np.float32))
        for session in sessions.values()
    )


def watched(run: Callable[[], Found], names: str) -> tuple[Found, Seen]:
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
    return found, Seen(disturbance, Conditions(before=before, after=after))


@dataclass(frozen=True)
class Taken:
    """A series, and where and with what it was taken."""

    series: Series
    seen: Seen
    machine: Machine
    runtime: str | None


def measurements_of(
    sessions: Mapping[str, Session], taken: Taken, *, rng: np.random.Generator
) -> tuple[Measurement, ...]:
    """A Measurement for each row of the series."""
    found = []
    series, seen = taken.series, taken.seen
    for (name, session), row in zip(sessions.items(), series.samples_ns, strict=True):
        steady = row[series.start :]
        floats = steady.astype(np.float64)
        alone = fresh(
            session.artifact.path, threads=session.threads, runtime=taken.runtime
        )
        found.append(
            Measurement(
                artifact_sha256=session.artifact.sha256,
                file=name,
                runtime=session.runtime,
                threads=session.threads,
                machine=taken.machine,
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


def untimed(
    sessions: Mapping[str, Session], machine: Machine, *, rng: np.random.Generator
) -> tuple[Measurement, ...]:
    """What can be said of sessions where instructions are emulated: that they run.

    No process of its own tells their memory: it may well run without the emulator.
    """
    found = []
    for (name, session), call in zip(
        sessions.items(), calls_of(sessions, rng), strict=True
    ):

        def run(call: Call = call) -> None:
            for _ in range(_TO_SEE_THAT_IT_RUNS):
                call()

        _, seen = watched(run, name)
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
