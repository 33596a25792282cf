"""From what a run did to what it reports: rows, files, latencies, the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compress.census import accuracy, census
from compress.data.catalogue import Catalogue
from compress.folder import JOURNAL
from compress.int8.record import RECORD as QUANTISATION
from compress.job import Job
from compress.journal import points
from compress.lowrank.record import RECORD as FACTORISATION
from compress.models.model import Model
from compress.models.names import family
from compress.promise import promises
from compress.prove import Proof, Proven
from compress.pruning.record import RECORD as PRUNING
from compress.recipe import Recipe
from compress.report.records import Record
from compress.report.report import Report
from compress.sparsity.record import RECORD as SPARSITY
from compress.stages import STAGES
from compress.training.options import Training
from runtime.budget import Spent
from runtime.files import gzip_bytes_of, read_json
from runtime.machine import this_machine
from runtime.measurement import Comparison, Measurement


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model and its line in the report."""

    name: str
    model: Model
    record: Record


def row_of(
    name: str, model: Model, data: Catalogue, job: Job, *, seconds: float
) -> Row:
    """Take the census of `model`; accuracy only where it knows the data's classes."""
    job.screen.detail(f"census: {name}")
    costs = census(model)
    known = data.judges(len(model.classes))
    found = accuracy(model, data.images(model.preprocess)) if known else None
    return Row(
        name=name,
        model=model,
        record={
            "stage": name,
            "model": model.spec.name,
            "input_size": model.preprocess.size,
            "params": costs.params,
            "macs": costs.macs,
            "size_bytes": costs.size_bytes,
            "activation_bytes": costs.activation_bytes,
            "training_bytes": costs.training_bytes,
            "top1": found.top1 if found else None,
            "top5": found.top5 if found else None,
            "seconds": round(seconds, 3),
        },
    )


def report_of(
    recipe: Recipe, job: Job, data: Catalogue, rows: Sequence[Row], proof: Proof
) -> Report:
    """Everything the run found, in the terms of the contract."""
    roles = {each.artifact.path.name: each.role for each in proof.files}
    measurements = [
        {**each.as_record(), "role": roles[each.file]} for each in proof.measurements
    ]
    sparsity = _newest(job.folder, SPARSITY)
    return Report(
        name=recipe.name,
        data={
            "name": data.name,
            "train": len(data.train) if data.train else 0,
            "val": len(data.val) if data.val else 0,
            "classes": len(data.classes),
        },
        recipe=resolved(recipe, rows),
        machine=this_machine().as_record(),
        rows=tuple(row.record for row in rows),
        artifacts=tuple(
            _artifact(each, job.folder, packed=bool(sparsity)) for each in proof.files
        ),
        measurements=tuple(measurements),
        comparisons=tuple(each.as_record() for each in proof.comparisons),
        budget=_budget(recipe, job.folder, rows, proof),
        curves=tuple(points(job.folder / JOURNAL)),
        quantisation=_newest(job.folder, QUANTISATION),
        pruning=_newest(job.folder, PRUNING),
        sparsity=sparsity,
        factorisation=_newest(job.folder, FACTORISATION),
        advice=advice(proof),
        # Measure it where it is going to run.
        next=f"compress profile {shipped(proof).artifact.path}",
        folder=job.folder,
    )


def resolved(recipe: Recipe, rows: Sequence[Row]) -> Record:
    """The recipe, with what each stage decided by the model it was given filled in."""
    given = [row.model for row in rows if row.name == "start" or row.name in STAGES]
    stages = []
    for (name, stage), model in zip(recipe.steps(), given, strict=False):
        options = stage.model_dump(mode="json", exclude_none=True)  # type: ignore[attr-defined]
        if isinstance(stage, Training) and stage.epochs:
            chosen = stage.training(family(model.spec.name), trained=model.trained)
            options |= chosen.model_dump(mode="json", exclude_none=True)
        stages.append({name: options})
    return {**recipe.as_record(), "stages": stages}


def _artifact(file: Proven, folder: Path, *, packed: bool) -> Record:
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
        "parity": file.parity.as_record(),
    }


def shipped(proof: Proof) -> Proven:
    """The file to ship to this machine: the first one of what the run made."""
    role = proof.files[-1].role
    return next(file for file in proof.files if file.role == role)


def _budget(recipe: Recipe, folder: Path, rows: Sequence[Row], proof: Proof) -> Record:
    """The limits that were set, and what is missed of them, a sentence each."""
    limits = recipe.limits()
    shown: dict[str, float] = limits.limits()
    broken = []
    for place, promise in promises(folder, recipe):
        if promise.share is not None:
            shown["latency"] = promise.share
        if said := promise.broken(*_judges(place, rows, proof)):
            broken.append(said)
            if promise.share is None and promise.wanted_ms == limits.latency_ms:
                limits = replace(limits, latency_ms=None)  # one sentence is enough
    violations = [*limits.violations(_spent(rows, proof)), *broken]
    return {"limits": shown, "violations": violations}


def _judges(
    place: int, rows: Sequence[Row], proof: Proof
) -> tuple[Measurement | None, Comparison | None]:
    """What tells whether the stage at `place` kept its promise: the float file's times.

    The comparison is with what the stage was given, so there is none where that is not
    what the run began with.
    """
    floats = [
        file
        for file in proof.files
        if file.artifact.dtype == "float32" and file.role not in {"teacher", "start"}
    ]
    made = next((f for f in floats if f.role == floats[-1].role), shipped(proof))
    name = made.artifact.path.name
    measured = next((each for each in proof.measurements if each.file == name), None)
    chain = [row.model for row in rows if row.name == "start" or row.name in STAGES]
    if chain[place].surgery != chain[0].surgery:
        return measured, None
    start = {each.artifact.path.name for each in proof.files if each.role == "start"}
    pairs = (e for e in proof.comparisons if e.a in start and e.b == name)
    return measured, next(pairs, None)


def _spent(rows: Sequence[Row], proof: Proof) -> Spent:
    """What the file to ship costs."""
    file = shipped(proof)
    name = file.artifact.path.name
    latency = next((each for each in proof.measurements if each.file == name), None)
    before = next((row.record for row in rows if row.name == "teacher"), rows[0].record)
    top1 = before["top1"]
    native = latency is not None and latency.kind == "native"
    return Spent(
        top1=file.top1,
        top1_start=top1 if isinstance(top1, float) else None,
        size_bytes=file.artifact.size_bytes,
        latency_ms=latency.p50_ms if latency and native else None,
        peak_rss_bytes=latency.memory.peak_rss_bytes
        if latency and latency.memory
        else None,
    )


def _newest(folder: Path, name: str) -> Record:
    """What the last stage that keeps such a record found; empty where there is none."""
    written = sorted(folder.glob(f"*/{name}"))
    return read_json(written[-1]) if written else {}


def advice(proof: Proof) -> tuple[str, ...]:
    """Where INT8 is no gain on this machine, and which file to take instead."""
    files = {each.artifact.path.name: each.artifact for each in proof.files}
    told = []
    for each in proof.comparisons:
        for a, b, ratio in (
            (each.a, each.b, each.ratio.low),
            (each.b, each.a, 1 / each.ratio.high),
        ):
            slow, fast = files[a], files[b]
            same = slow.format == fast.format
            if same and (slow.dtype, fast.dtype) == ("int8", "float32") and ratio > 1:
                told.append(
                    f"{a} is slower than {b} on this machine (at least {ratio:.2f}x "
                    f"the time); ship {b} here unless size matters more"
                )
    return tuple(told)
