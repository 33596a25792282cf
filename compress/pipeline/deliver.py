"""From trained models to files that provably compute the same, and their latency."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace

import numpy as np

from compress.context.context import RunContext
from compress.data.dataset import Catalog
from compress.devices.measuring import measured, runtime_for, threads_for
from compress.evaluation.stand_in import StandIn, answering
from compress.models.model import Model
from compress.pipeline.export_plan import PlannedFile, wanted, write
from compress.pipeline.exported import Delivery, ExportedFile, Refused
from compress.pipeline.file_judge import FileJudge
from compress.pipeline.mixed_precision import Placed, placed
from compress.pipeline.selftest import selftest_of
from compress.pipeline.target_grids import Calibration, TargetGrids
from compress.recipe.recipe import Export
from runtime.errors import InputRejectedError
from runtime.measure import measure, measure_together
from runtime.measurement import Comparison, Measurement
from runtime.session import Session

THREADS = 1  # what latencies are taken with, so that they compare


def deliver(  # noqa: PLR0913  # what is made, of what, and where
    models: Mapping[str, Model],
    data: Catalog,
    export: Export,
    context: RunContext,
    recipe: str,
    *,
    calibration: Calibration,
) -> Delivery:
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
    grids = TargetGrids(data=data, context=context, calibration=calibration)
    refused: list[Refused] = []
    with ExitStack() as opened:
        files: list[ExportedFile] = []
        sessions: dict[str, Session] = {}
        for wish in asked:
            context.console.tell(f"export: {wish.told}")
            each = wish
            try:
                each = grids.chosen(wish)
                found = placed(each, export, context, recipe)
                artifact = write(
                    each,
                    context.folder / "artifacts",
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
                context.console.tell(f"export: {each.name}: {error}")
                refused.append(Refused(name=each.name, reason=str(error)))
                continue
            session = answering(artifact, threads=THREADS)
            opened.enter_context(closing(session))
            if each.runs_here:
                sessions[each.name] = session
            files.append(_proven(judge, each, session, found))
            context.console.tell(f"proof: {files[-1].as_text()}")
        measurements, comparisons = timed(sessions, export, context)
    return Delivery(
        files=tuple(files),
        measurements=measurements,
        comparisons=comparisons,
        refused=tuple(refused),
    )


def _proven(
    judge: FileJudge, asked: PlannedFile, session: Session, found: Placed
) -> ExportedFile:
    """What a file proved, by itself or, where others' kernels read it, by its equal."""
    proven = judge.proven(asked, session, found)
    if isinstance(session, StandIn):
        return replace(proven, proven_by=session.equal.target)
    return proven


def timed(
    sessions: Mapping[str, Session], export: Export, context: RunContext
) -> tuple[tuple[Measurement, ...], tuple[Comparison, ...]]:
    """Latencies of files by name, taken in turn where there are several.

    They are taken here, or on the device that `export` names.
    """
    if export.device is not None and sessions:
        threads = threads_for(export)
        context.console.tell(
            f"measure: {', '.join(sessions)} on {export.device}, {threads} thread(s)"
        )
        files = [session.artifact.path for session in sessions.values()]
        found = measured(
            export.device,
            files,
            threads=threads,
            seed=context.seed,
            console=context.console,
            runtime=runtime_for(export),
        )
        return found.measurements, found.comparisons
    context.console.tell(
        f"measure: {', '.join(sessions)}, {THREADS} thread; nothing is shown "
        "meanwhile, which would disturb it"
    )
    rng = np.random.default_rng(context.seed)
    if len(sessions) > 1:
        return measure_together(sessions, rng=rng)
    return measure(sessions, rng=rng), ()
