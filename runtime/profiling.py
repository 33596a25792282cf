"""Profile model files on this machine: load them, run them, measure them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.errors import MissingDependencyError
from runtime.requirements import pip_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from runtime.artifact import Artifact
    from runtime.measurement import Comparison, Measurement
    from runtime.plan import Plan
    from runtime.profiled import Profile
    from runtime.session import Session
    from runtime.voice import Voice


def profile_files(files: Sequence[Path], plan: Plan, screen: Voice) -> Profile:
    """Measure `files` as `plan` asks; all are read before any is run.

    Raises what `pinned`, `Artifact.read`, `open_session` and `measure` raise.
    """
    from dataclasses import replace

    from runtime.pinning import pinned

    with pinned(plan.cores):
        found = [
            _profiled(files, replace(plan, threads=count, sweep=()), screen)
            for count in (plan.threads, *plan.sweep)
        ]
    return replace(
        found[0],
        measurements=tuple(each for part in found for each in part.measurements),
        cores=plan.cores,
    )


def _profiled(files: Sequence[Path], plan: Plan, screen: Voice) -> Profile:
    """Measure with one number of threads, wherever this process is pinned to."""
    from contextlib import ExitStack, closing

    try:
        import numpy as np
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"profile: needs numpy, which is not installed; run: {pip_line('')}"
        ) from error
    from runtime.artifact import Artifact
    from runtime.backends.table import backend
    from runtime.contained import try_out
    from runtime.extras import with_extras
    from runtime.meters.table import check_meter
    from runtime.profiled import Profile

    if plan.energy is not None:
        check_meter(plan.energy)
    artifacts = named([Artifact.read(path) for path in files])
    if plan.runtime is not None and backend(plan.runtime).times_itself:
        return backend(plan.runtime).profile(artifacts, plan, screen)
    for artifact in artifacts.values():
        try_out(artifact)
    rng = np.random.default_rng(plan.seed)
    with ExitStack() as opened:
        sessions: dict[str, Session] = {}
        for name, artifact in artifacts.items():
            session = _opened(name, artifact, screen, plan=plan)
            sessions[name] = opened.enter_context(closing(session))
        screen.tell(f"running {', '.join(sessions)}")
        measurements, comparisons = _measured(sessions, artifacts, plan, rng=rng)
        measurements = with_extras(measurements, sessions, plan, screen, rng=rng)
    return Profile(
        measurements=measurements, comparisons=comparisons, forced=plan.force
    )


def _measured(
    sessions: Mapping[str, Session],
    artifacts: Mapping[str, Artifact],
    plan: Plan,
    *,
    rng: np.random.Generator,
) -> tuple[Sequence[Measurement], tuple[Comparison, ...]]:
    """Latencies as `plan` asks for them: in turn, for minutes, or one by one."""
    from runtime.measure import measure, measure_long, measure_together
    from runtime.session import open_session

    if plan.compare:
        return measure_together(
            sessions,
            rng=rng,
            runs=plan.runs,
            seconds=plan.seconds,
            runtime=plan.runtime,
            reopen=lambda name: open_session(
                artifacts[name], threads=plan.threads, runtime=plan.runtime
            ),
        )
    if plan.long:
        long = measure_long(
            sessions,
            mode="certified" if plan.mode == "certified" else "sustained",
            seconds=plan.long_seconds,
            rng=rng,
            runtime=plan.runtime,
        )
        return long, ()
    quick = measure(
        sessions, rng=rng, runs=plan.runs, seconds=plan.seconds, runtime=plan.runtime
    )
    return quick, ()


def _opened(name: str, artifact: Artifact, screen: Voice, *, plan: Plan) -> Session:
    """A session, announced."""
    from runtime.machine import this_machine
    from runtime.session import open_session
    from runtime.target import misplaced

    if (why := misplaced(artifact.target, this_machine())) is not None:
        screen.tell(
            f"{name} is laid out for {artifact.target}, and {why}: neither its answers "
            "nor its times here are that device's"
        )
    session = open_session(artifact, threads=plan.threads, runtime=plan.runtime)
    shape = "x".join(map(str, session.input_shape))
    screen.tell(f"{name}: {session.runtime}, input {shape}, loaded")
    return session


def named(artifacts: Sequence[Artifact]) -> dict[str, Artifact]:
    """The shortest names that tell the files apart; one given twice is numbered."""
    names = [each.path.name for each in artifacts]
    if len(set(names)) < len(names):
        names = [str(each.path) for each in artifacts]
    found: dict[str, Artifact] = {}
    for name, artifact in zip(names, artifacts, strict=True):
        count = sum(1 for other in found if other.partition(" #")[0] == name)
        found[f"{name} #{count + 1}" if count else name] = artifact
    return found
