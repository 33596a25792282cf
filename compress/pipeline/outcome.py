"""From what a run did to what it reports: rows, files, latencies, the verdict."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from compress.context.context import RunContext
from compress.context.journal import doubts, points
from compress.context.records import Record
from compress.data.dataset import Dataset
from compress.lowrank.record import joined as joined_splits
from compress.models.names import family
from compress.models.stage_result import KINDS, Kind
from compress.pipeline.evidence import Evidence
from compress.pipeline.exported import Delivery, ExportedFile
from compress.pipeline.provenance import provenance
from compress.pipeline.reference import Reference, reference_of, was_trained
from compress.pipeline.rows import Row, chain_of
from compress.pipeline.run_directory import JOURNAL
from compress.pipeline.shipping import advice, shipped
from compress.pipeline.verdict import checks_of
from compress.prediction.asked import predictions_for
from compress.pruning.record import joined as joined_cuts
from compress.recipe.recipe import Recipe
from compress.recipe.training import Training
from compress.report.report import Report
from compress.training.teacher import larger
from compress.training.views import training_images
from runtime.checks import Check
from runtime.errors import Exit
from runtime.files import gzip_bytes_of
from runtime.machine import this_machine


def report_of(  # noqa: PLR0913  # what a run is made of
    recipe: Recipe,
    context: RunContext,
    data: Dataset,
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
    stages = findings_of(rows)
    found = Evidence(
        recipe=recipe,
        folder=context.folder,
        rows=rows,
        proof=proof,
        reference=reference or reference_of(recipe, rows),
        trained=was_trained(recipe, rows) if rows else True,
        quantisation=quantisation or stages["quantisation"],
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
        data=_data(data),
        recipe=resolved(recipe, rows, data),
        machine=this_machine().as_record(),
        rows=tuple(row.record for row in rows),
        artifacts=_artifacts(proof, context.folder, packed=bool(stages["sparsity"])),
        measurements=_measurements(proof),
        comparisons=tuple(each.as_record() for each in proof.comparisons),
        predictions=tuple(each.as_record() for each in found.predictions.values()),
        budget=_budget(found, checks),
        curves=tuple(points(context.folder / JOURNAL)),
        quantisation=found.quantisation,
        pruning=stages["pruning"],
        sparsity=stages["sparsity"],
        factorisation=stages["factorisation"],
        advice=advice(found, ship),
        doubts=doubts(context.folder / JOURNAL),
        # Measure it where it is going to run.
        next=f"compress profile {context.folder / ship[0].path}" if ship else "",
        folder=context.folder,
    )


def resolved(recipe: Recipe, rows: Sequence[Row], data: Dataset) -> Record:
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


def _measurements(proof: Delivery) -> tuple[Record, ...]:
    """Every latency, and whose file it is of."""
    roles = {each.name: each.role for each in proof.files}
    return tuple(
        {**each.as_record(), "role": roles[each.file]} for each in proof.measurements
    )


def _data(data: Dataset) -> Record:
    """How many images of how many classes there were."""
    return {
        "name": data.name,
        "train": data.used("train"),
        "val": data.used("val"),
        "classes": len(data.classes),
    }


def _artifacts(proof: Delivery, folder: Path, *, packed: bool) -> tuple[Record, ...]:
    """Every file's entry."""
    return tuple(_artifact(each, folder, packed=packed) for each in proof.files)


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


def findings_of(rows: Sequence[Row]) -> Mapping[Kind, Record]:
    """What the stages found, by kind; empty where none did.

    Of two that cut, or two that split, one record tells of both; of others the last
    one tells of the network as it is.
    """
    found: dict[Kind, list[Record]] = {kind: [] for kind in KINDS}
    for row in chain_of(rows):
        if row.findings is not None:
            found[row.findings.kind].append(row.findings.record)
    return {
        kind: JOINED.get(kind, _last)(records) if records else {}
        for kind, records in found.items()
    }


def _last(records: Sequence[Record]) -> Record:
    return records[-1]


JOINED: Final[Mapping[Kind, Callable[[Sequence[Record]], Record]]] = {
    "pruning": joined_cuts,
    "factorisation": joined_splits,
}
