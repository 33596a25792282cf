"""From what a run did to what it reports: rows, files, latencies, the verdict."""

from collections.abc import Sequence
from pathlib import Path

from compress.context.context import RunContext
from compress.context.journal import doubts, points
from compress.data.dataset import Catalog
from compress.lowrank.record import RECORD as FACTORIZATION
from compress.models.names import family
from compress.pipeline.evidence import Evidence
from compress.pipeline.exported import Delivery, ExportedFile
from compress.pipeline.provenance import provenance
from compress.pipeline.reference import Reference, reference_of, was_trained
from compress.pipeline.rows import Row, chain_of
from compress.pipeline.run_directory import JOURNAL
from compress.pipeline.shipping import advice, shipped
from compress.pipeline.verdict import checks_of
from compress.prediction.asked import predictions_for
from compress.pruning.record import RECORD as PRUNING
from compress.quantization.record import RECORD as QUANTIZATION
from compress.recipe.recipe import Recipe
from compress.recipe.training import Training
from compress.report.records import Record
from compress.report.report import Report
from compress.sparsity.record import RECORD as SPARSITY
from compress.training.teacher import larger
from compress.training.views import training_images
from runtime.checks import Check
from runtime.errors import Exit
from runtime.files import gzip_bytes_of, read_json
from runtime.machine import this_machine


def report_of(  # noqa: PLR0913  # what a run is made of
    recipe: Recipe,
    context: RunContext,
    data: Catalog,
    rows: Sequence[Row],
    proof: Delivery,
    *,
    reference: Reference | None = None,
    quantisation: Record | None = None,
) -> Report:
    """Everything the run found, in the terms of the contract.

    `reference` and `quantization` are an engine's, whose rows and folders do not hold
    them.
    """
    roles = {each.name: each.role for each in proof.files}
    measurements = [
        {**each.as_record(), "role": roles[each.file]} for each in proof.measurements
    ]
    sparsity = _newest(context.folder, SPARSITY)
    found = Evidence(
        recipe=recipe,
        folder=context.folder,
        rows=rows,
        proof=proof,
        reference=reference or reference_of(recipe, rows),
        trained=was_trained(recipe, rows) if rows else True,
        quantisation=quantisation or _newest(context.folder, QUANTIZATION),
        predictions=predictions_for(
            recipe.limits(),
            [each.artifact for each in proof.delivered],
            context.console,
        ),
    )
    checks = checks_of(found)
    ship = shipped(found, checks)
    return Report(
        name=recipe.name,
        made=provenance(),
        trained=found.trained,
        checks=tuple(each.as_record() for each in checks),
        ship=tuple(each.as_record() for each in ship),
        refused=tuple({"file": e.name, "reason": e.reason} for e in proof.refused),
        data={
            "name": data.name,
            "train": data.used("train"),
            "val": data.used("val"),
            "classes": len(data.classes),
        },
        recipe=resolved(recipe, rows, data),
        machine=this_machine().as_record(),
        rows=tuple(row.record for row in rows),
        artifacts=tuple(
            _artifact(each, context.folder, packed=bool(sparsity))
            for each in proof.files
        ),
        measurements=tuple(measurements),
        comparisons=tuple(each.as_record() for each in proof.comparisons),
        predictions=tuple(each.as_record() for each in found.predictions.values()),
        budget=_budget(found, checks),
        curves=tuple(points(context.folder / JOURNAL)),
        quantisation=found.quantisation,
        pruning=_newest(context.folder, PRUNING),
        sparsity=sparsity,
        factorisation=_newest(context.folder, FACTORIZATION),
        advice=advice(found, ship),
        doubts=doubts(context.folder / JOURNAL),
        # Measure it where it is going to run.
        next=f"compress profile {context.folder / ship[0].path}" if ship else "",
        folder=context.folder,
    )


def resolved(recipe: Recipe, rows: Sequence[Row], data: Catalog) -> Record:
    """The recipe, with what each stage decided by model and data filled in."""
    stages = []
    given = [row.model for row in chain_of(rows)]
    for place, (name, stage) in enumerate(recipe.steps()):
        options = stage.model_dump(mode="json", exclude_none=True)  # type: ignore[attr-defined]
        if isinstance(stage, Training) and stage.epochs and place < len(given):
            model = given[place]
            teachers = [row.model for row in rows if row.name == "teacher"]
            seen = data.open(larger(model, *teachers).preprocess)  # decoded long ago
            chosen = stage.training(
                family(model.spec.name),
                trained=model.trained,
                images=len(training_images(seen)),
            )
            options |= chosen.model_dump(mode="json", exclude_none=True)
        stages.append({name: options})
    return {**recipe.as_record(), "stages": stages}


def _artifact(file: ExportedFile, folder: Path, *, packed: bool) -> Record:
    """A file's entry; its path is relative to the run. Zeros show when it is packed."""
    path = file.artifact.path
    return {
        **file.artifact.as_record(),
        "path": path.relative_to(folder).as_posix(),
        "gzip_bytes": gzip_bytes_of(path) if packed else None,
        "role": file.role,
        "top1": file.top1,
        "int8_macs_fraction": file.int8_macs_fraction,
        "placement": file.placement,
        "grids": file.grids,
        "parity": file.parity.as_record() if file.parity else None,
        "proven_by": file.proven_by,
        "against_float32": file.changed.as_record() if file.changed else None,
    }


def _budget(found: Evidence, checks: Sequence[Check]) -> Record:
    """The limits that were set, and what is missed of all limits, a sentence each."""
    limits: dict[str, float] = found.recipe.limits().limits()
    for check in checks:
        if not check.default and check.exit_code is Exit.BUDGET:
            limits.setdefault(check.limit, check.allowed)
    violations = [
        check.sentence
        for check in checks
        if check.kept is False and check.exit_code is Exit.BUDGET
    ]
    reference = found.reference.name if found.reference else None
    return {"limits": limits, "reference": reference, "violations": violations}


def _newest(folder: Path, name: str) -> Record:
    """What the last stage that keeps such a record found; empty where there is none."""
    written = sorted(folder.glob(f"*/{name}"))
    return read_json(written[-1]) if written else {}
