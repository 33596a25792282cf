"""From trained models to files that provably compute the same, and their latency."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace

import numpy as np

from compress.data.catalogue import Catalogue
from compress.exports import Wanted, wanted, write
from compress.job import Job
from compress.measuring import measured, runtime_for, threads_for
from compress.models.model import Model
from compress.parity import FileJudge
from compress.placing import Placed, placed
from compress.proof import Proof, Proven, Refused
from compress.recipe import Export
from compress.selftest import selftest_of
from compress.stand_in import StandIn, answering
from compress.target_grids import Calibration, TargetGrids
from runtime.errors import InputRejectedError
from runtime.measure import measure, measure_together
from runtime.measurement import Comparison, Measurement
from runtime.session import Session

THREADS = 1  # what latencies are taken with, so that they compare


def prove(  # noqa: PLR0913  # what is made, of what, and where
    models: Mapping[str, Model],
    data: Catalogue,
    export: Export,
    job: Job,
    recipe: str,
    *,
    calibration: Calibration,
) -> Proof:
    """Write each model, compare it with its files on real images, then race the files.

    `models` by role, such as "teacher" and "student"; the last is what the run made and
    gets every file that `export` asks for, the others one in float32 to compare with.
    `recipe` is the recipe's digest; `calibration` says which images a target's own
    grids are chosen on. What a file fails to prove is for the report to
    say, and so is a file that cannot be written while another can; scores that are not
    finite, or of the wrong shape, are a ParityError at once.
    """
    *others, last = models
    plain = export.model_copy(update={"dtype": ("float32",), "to": export.to[:1]})
    asked = [
        each
        for role, model in models.items()
        for each in wanted(role, model, export if role == last else plain)
    ]
    judge = FileJudge(data=data, before=models[others[-1]] if others else None)
    grids = TargetGrids(data=data, job=job, calibration=calibration)
    refused: list[Refused] = []
    with ExitStack() as opened:
        files: list[Proven] = []
        sessions: dict[str, Session] = {}
        for wish in asked:
            job.screen.tell(f"export: {wish.told}")
            each = wish
            try:
                each = grids.chosen(wish)
                found = placed(each, export, job, recipe)
                artifact = write(
                    each,
                    job.folder / "artifacts",
                    export=export,
                    recipe=recipe,
                    left_float=found.left_float,
                    selftest=selftest_of(
                        each, data, export, left_float=found.left_float
                    ),
                )
            except InputRejectedError as error:
                made = any(file.role == last for file in files)
                if each.role != last or (wish is asked[-1] and not made):
                    raise
                job.screen.tell(f"export: {each.name}: {error}")
                refused.append(Refused(name=each.name, reason=str(error)))
                continue
            session = answering(artifact, threads=THREADS)
            opened.enter_context(closing(session))
            if each.runs_here:
                sessions[each.name] = session
            files.append(_proven(judge, each, session, found))
            job.screen.tell(f"proof: {files[-1].as_text()}")
        measurements, comparisons = timed(sessions, export, job)
    return Proof(
        files=tuple(files),
        measurements=measurements,
        comparisons=comparisons,
        refused=tuple(refused),
    )


def _proven(judge: FileJudge, asked: Wanted, session: Session, found: Placed) -> Proven:
    """What a file proved, by itself or, where others' kernels read it, by its equal."""
    proven = judge.proven(asked, session, found)
    if isinstance(session, StandIn):
        return replace(proven, proven_by=session.equal.target)
    return proven


def timed(
    sessions: Mapping[str, Session], export: Export, job: Job
) -> tuple[tuple[Measurement, ...], tuple[Comparison, ...]]:
    """Latencies of files by name, taken in turn where there are several.

    They are taken here, or on the device that `export` names.
    """
    if export.device is not None and sessions:
        threads = threads_for(export)
        job.screen.tell(
            f"measure: {', '.join(sessions)} on {export.device}, {threads} thread(s)"
        )
        files = [session.artifact.path for session in sessions.values()]
        found = measured(
            export.device,
            files,
            threads=threads,
            seed=job.seed,
            screen=job.screen,
            runtime=runtime_for(export),
        )
        return found.measurements, found.comparisons
    job.screen.tell(
        f"measure: {', '.join(sessions)}, {THREADS} thread; nothing is shown "
        "meanwhile, which would disturb it"
    )
    rng = np.random.default_rng(job.seed)
    if len(sessions) > 1:
        return measure_together(sessions, rng=rng)
    return measure(sessions, rng=rng), ()
