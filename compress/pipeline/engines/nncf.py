"""`quantize --engine nncf`: NNCF chooses the grids, our lowering makes it fast."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, cast

import onnx

from compress.context.console import Console
from compress.context.context import RunContext
from compress.context.extras import check_installed
from compress.data.calibration import batches_of, calibration_images
from compress.data.dataset import find
from compress.models.model import Model
from compress.models.opening import check_start, open_model
from compress.pipeline.deliver import THREADS, timed
from compress.pipeline.engines.nncf_limit import limit_of
from compress.pipeline.export_plan import PlannedFile, onnx_targets, runs_on, write
from compress.pipeline.exported import Delivery, ExportedFile, quantization_of
from compress.pipeline.file_judge import FileJudge
from compress.pipeline.mixed_precision import Placed
from compress.pipeline.outcome import report_of
from compress.pipeline.reachable import check_reachable
from compress.pipeline.rows import row_of
from compress.pipeline.run import handed_over, in_run_directory
from compress.pipeline.selftest import keep_own_selftest, selftest_of
from compress.quantization.nncf import nncf_quantized
from compress.recipe.recipe import Recipe
from compress.report.report import Report
from export.onnx.lower import lowered
from export.to_onnx import write_onnx
from runtime.artifact import Artifact
from runtime.errors import RecipeError
from runtime.machine import this_machine
from runtime.session import Session, open_session
from runtime.target import Target

if TYPE_CHECKING:
    from compress.recipe.ptq import Ptq


def quantize_with_nncf(recipe: Recipe, folder: Path, console: Console) -> Report:
    """Write the float file, let NNCF quantize it, lower that, compare and race."""
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
        recipe,
        folder,
        console=console,
        work=lambda context: _carried_out(recipe, context),
    )


def _carried_out(recipe: Recipe, context: RunContext) -> Report:
    """The files, what they keep of float32, their latencies, and the report of it."""
    data = find(
        recipe.data, seed=context.seed, console=context.console, cache=context.cache
    )
    model = open_model(recipe.model, data, context, size=recipe.data.size, adapt=False)
    check_reachable(recipe, model)
    row = row_of("start", model, data, context, seconds=0.0)
    judge = FileJudge(data=data, before=model)
    plain = PlannedFile(role="start", model=model, format="onnx", dtype="float32")
    with ExitStack() as opened:

        def session_of(artifact: Artifact) -> Session:
            session = open_session(artifact, threads=THREADS)
            return opened.enter_context(closing(session))

        before = session_of(
            write(
                plain,
                context.folder / "artifacts",
                export=recipe.export,
                recipe=recipe.digest(),
                selftest=selftest_of(plain, data, recipe.export),
            )
        )
        files: list[ExportedFile] = [judge.proven(plain, before, Placed())]
        sessions = {files[0].name: before}
        for chosen, artifact in _quantized(
            recipe, context, model, judge, before.artifact
        ):
            session = session_of(artifact)
            if runs_on(this_machine(), chosen):
                sessions[artifact.path.name] = session
                keep_own_selftest(session, data, recipe.export)
            files.append(judge.judged("model", model, session, None))
        measurements, comparisons = timed(sessions, recipe.export, context)
    proof = Delivery(
        files=tuple(files), measurements=measurements, comparisons=comparisons
    )
    kept = quantization_of(files[0], files[1])
    report = report_of(recipe, context, data, [row], proof, quantisation=kept)
    return handed_over(report, context)


def _quantized(
    recipe: Recipe, context: RunContext, model: Model, judge: FileJudge, plain: Artifact
) -> Iterator[tuple[Target, Artifact]]:
    """NNCF's grids, lowered once for each target."""
    options = _options(recipe)
    images = calibration_images(
        model, judge.data, context, source=options.calib, count=options.calib_images
    )
    limit = limit_of(options, model, judge.data, plain, judge.images(model))
    control = None if limit is None else limit.control()
    with tempfile.TemporaryDirectory() as place:
        raw = Path(place) / "nncf.onnx"
        context.console.tell(
            f"ptq: NNCF measures {len(images)} images, in one call that says nothing "
            "until it ends"
        )
        nncf_quantized(plain.path, raw, batches_of(model, images), control=control)
        for chosen in onnx_targets(recipe.export):
            name = PlannedFile(
                role="model", model=model, format="onnx", dtype="int8", target=chosen
            ).name
            yield (
                chosen,
                write_onnx(
                    lowered(onnx.load(raw), chosen),
                    path=context.folder / "artifacts" / name,
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
