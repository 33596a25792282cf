"""`quantize --engine nncf`: NNCF chooses the grids, our lowering makes it fast."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, cast

import onnx

from compress.data.catalogue import find
from compress.exports import Wanted, onnx_targets, runs_on, write
from compress.extras import check_installed
from compress.int8.calibration import batches_of, calibration_images
from compress.int8.nncf_engine import nncf_quantised
from compress.job import Job
from compress.models.model import Model
from compress.models.opening import check_start, open_model
from compress.nncf_limit import limit_of
from compress.outcome import report_of
from compress.parity import FileJudge
from compress.placing import Placed
from compress.proof import Proof, Proven, quantisation_of
from compress.prove import THREADS, timed
from compress.reachable import check_reachable
from compress.recipe import Recipe
from compress.report.report import Report
from compress.rows import row_of
from compress.run import handed_over, in_run_directory
from compress.screen import Screen
from compress.selftest import keep_own_selftest, selftest_of
from export.lower import lowered
from export.to_onnx import write_onnx
from runtime.artifact import Artifact
from runtime.errors import RecipeError
from runtime.machine import this_machine
from runtime.session import Session, open_session
from runtime.target import Target

if TYPE_CHECKING:
    from compress.stages.ptq import Ptq


def quantize_with_nncf(recipe: Recipe, folder: Path, screen: Screen) -> Report:
    """Write the float file, let NNCF quantise it, lower that, compare and race."""
    check_installed("nncf", "onnx", "onnxruntime")
    if set(recipe.export.to) != {"onnx"}:
        raise RecipeError(
            "--engine nncf: works on the ONNX file and gives no other; leave --to out, "
            "or use --engine edgepress"
        )
    for each in onnx_targets(recipe.export):
        if each.rounds_reads:
            raise RecipeError(
                f"--engine nncf: chooses grids with zero points, which {each.name} "
                "does not know; use --engine edgepress, which calibrates about 0 for it"
            )
    check_start(recipe.model, tuple(recipe.steps()))
    options = _options(recipe)
    if options.accuracy_drop is not None and options.flips is not None:
        raise RecipeError(
            "--engine nncf: keeps within one limit; give --accuracy-drop or --flips, "
            "or use --engine edgepress"
        )
    return in_run_directory(
        recipe, folder, screen=screen, work=lambda job: _carried_out(recipe, job)
    )


def _carried_out(recipe: Recipe, job: Job) -> Report:
    """The files, what they keep of float32, their latencies, and the report of it."""
    data = find(recipe.data, seed=job.seed, screen=job.screen, cache=job.cache)
    model = open_model(recipe.model, data, job, size=recipe.data.size, adapt=False)
    check_reachable(recipe, model)
    row = row_of("start", model, data, job, seconds=0.0)
    judge = FileJudge(data=data, before=model)
    plain = Wanted(role="start", model=model, format="onnx", dtype="float32")
    with ExitStack() as opened:

        def session_of(artifact: Artifact) -> Session:
            session = open_session(artifact, threads=THREADS)
            return opened.enter_context(closing(session))

        before = session_of(
            write(
                plain,
                job.folder / "artifacts",
                export=recipe.export,
                recipe=recipe.digest(),
                selftest=selftest_of(plain, data, recipe.export),
            )
        )
        files: list[Proven] = [judge.proven(plain, before, Placed())]
        sessions = {files[0].name: before}
        for chosen, artifact in _quantised(recipe, job, model, judge, before.artifact):
            session = session_of(artifact)
            if runs_on(this_machine(), chosen):
                sessions[artifact.path.name] = session
                keep_own_selftest(session, data, recipe.export)
            files.append(judge.judged("model", model, session, None))
        measurements, comparisons = timed(sessions, recipe.export, job)
    proof = Proof(
        files=tuple(files), measurements=measurements, comparisons=comparisons
    )
    kept = quantisation_of(files[0], files[1])
    report = report_of(recipe, job, data, [row], proof, quantisation=kept)
    return handed_over(report, job)


def _quantised(
    recipe: Recipe, job: Job, model: Model, judge: FileJudge, plain: Artifact
) -> Iterator[tuple[Target, Artifact]]:
    """NNCF's grids, lowered once for each target."""
    options = _options(recipe)
    images = calibration_images(
        model, judge.data, job, source=options.calib, count=options.calib_images
    )
    limit = limit_of(options, model, judge.data, plain, judge.images(model))
    control = None if limit is None else limit.control()
    with tempfile.TemporaryDirectory() as place:
        raw = Path(place) / "nncf.onnx"
        job.screen.tell(
            f"ptq: NNCF measures {len(images)} images, in one call that says nothing "
            "until it ends"
        )
        nncf_quantised(plain.path, raw, batches_of(model, images), control=control)
        for chosen in onnx_targets(recipe.export):
            name = Wanted(
                role="model", model=model, format="onnx", dtype="int8", target=chosen
            ).name
            yield (
                chosen,
                write_onnx(
                    lowered(onnx.load(raw), chosen),
                    path=job.folder / "artifacts" / name,
                    classes=model.classes,
                    preprocess=model.preprocess,
                    recipe_sha256=recipe.digest(),
                    name=model.spec.name,
                    dtype="int8",
                    target=chosen,
                ),
            )


def _options(recipe: Recipe) -> "Ptq":
    """The one stage of such a recipe."""
    ((_, stage),) = recipe.steps()
    return cast("Ptq", stage)
