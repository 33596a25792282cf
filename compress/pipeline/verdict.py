"""The verdict: every limit held against every delivered file that it applies to.

Limits of the user's are the budget, what a stage was asked for, and the agreement of a
file with its network. Where none speaks of accuracy, defaults do: INT8 must not have
lost the function, and what was trained must answer better than chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from compress.context.latency_target import Promise, promises
from compress.evaluation.chance_level import above_chance
from compress.pipeline.evidence import Evidence, timed_for_its_device
from compress.pipeline.exported import Delivery, ExportedFile
from compress.pipeline.int8_limits import (
    accuracy_is_limited,
    asked_of_ptq,
    kept_of_float,
)
from compress.pipeline.reference import drop_from
from compress.pipeline.rows import Row, chain_of
from compress.prediction.prediction import plus_minus
from compress.recipe.recipe import Export
from export.parity import SQNR_FLOORS_DB, parity_checks
from runtime.budget import Spent
from runtime.checks import Check
from runtime.errors import Exit

# Limits on what only a device can tell.
_MEASURED: Final = frozenset({"latency_ms", "peak_rss_bytes"})


def checks_of(found: Evidence) -> tuple[Check, ...]:
    """Every limit of a run, the user's and the defaults, file by file."""
    promised = tuple(_promised(found))
    held = (
        check
        for file in found.proof.delivered
        for check in checks_of_file(file, found, promised)
    )
    return (*held, *asked_of_ptq(found), *promised)


def checks_of_file(
    file: ExportedFile, found: Evidence, promised: Sequence[Check] = ()
) -> tuple[Check, ...]:
    """Those of one file, be it one to ship in place of one that was delivered."""
    return (
        *_proven(file, found.recipe.export),
        *_budgeted(file, found, promised),
        *_function(file, found),
    )


def _proven(file: ExportedFile, export: Export) -> Iterator[Check]:
    """Whether the file computes what its network does."""
    if file.parity is None and file.changed is None and file.answers is None:
        yield Check(
            limit="proof",
            what="what the file computes",
            unit="share",
            bound="at least",
            allowed=export.agreement,
            measured=None,
            kept=False,
            file=file.name,
            exit_code=Exit.PARITY,
            said="there is nothing to compare it with; name data whose labels fit",
        )
    if file.parity is not None:
        yield from parity_checks(
            file.parity,
            file=file.name,
            threshold=export.agreement,
            floor_db=SQNR_FLOORS_DB[file.artifact.dtype or "float32"],
            default="agreement" not in export.model_fields_set,
        )


def _budgeted(
    file: ExportedFile, found: Evidence, promised: Sequence[Check]
) -> Iterator[Check]:
    """The recipe's budget, held against one file.

    A file for a device that this machine is not has no latency here: where another
    delivered file was timed, it is left unjudged, and never passed.
    """
    limits = found.recipe.limits()
    broken = [
        each.allowed
        for each in promised
        if each.kept is False and each.unit == "ms" and each.file == file.name
    ]
    if limits.latency_ms in broken:
        limits = replace(limits, latency_ms=None)  # one sentence is enough
    here = timed_for_its_device(file, found)
    others = any(timed_for_its_device(each, found) for each in found.proof.delivered)
    for check in limits.checks(_spent(file, found), file=file.name):
        if check.limit == "predicted_ms" and file.artifact.format != "tflite":
            yield replace(check, kept=None, remark="predictions are of TFLite files")
        elif check.limit == "predicted_ms" and (doubt := _doubted(file, found)):
            yield replace(check, kept=None, remark=doubt)
        elif check.limit in _MEASURED and not here and others:
            what = found.recipe.export.device or "this machine"
            remark = f"{what} is not its device; measure it there"
            yield replace(check, kept=None, remark=remark)
        elif check.limit == "size_bytes" and (own := file.artifact.selftest_bytes):
            yield replace(check, remark=f"its self-test, {own:,} bytes, is not counted")
        else:
            yield check


def _doubted(file: ExportedFile, found: Evidence) -> str:
    """Why a prediction may be further off than its error says; empty if it is not."""
    predicted = found.predictions.get(file.name)
    return "; ".join(predicted.doubts) if predicted else ""


def _spent(file: ExportedFile, found: Evidence) -> Spent:
    """What a file costs."""
    drop = drop_from(found.reference, file)
    here = timed_for_its_device(file, found)
    latency = found.proof.measured(file) if here else None
    valid = latency is not None and not latency.faults()
    predicted = found.predictions.get(file.name)
    named = ""
    if found.reference is not None and drop is not None:
        named = f"{found.reference.name} ({drop.start * 100:.2f} % on the same images)"
    return Spent(
        top1=file.top1,
        top1_start=drop.start if drop else None,
        start=named,
        top1_drop_interval=(drop.low, drop.high) if drop else None,
        size_bytes=file.artifact.size_bytes - file.artifact.selftest_bytes,
        latency_ms=latency.p50_ms if latency and valid else None,
        peak_rss_bytes=latency.memory.peak_rss_bytes
        if latency and latency.memory
        else None,
        predicted_ms=predicted.predicted_ms if predicted else None,
        predicted_for=f"{predicted.board}, {plus_minus(predicted.error)}"
        if predicted
        else "",
    )


def _function(file: ExportedFile, found: Evidence) -> Iterator[Check]:
    """Defaults: better than chance where it was trained, and in INT8 still itself."""
    answers, labels = file.answers, file.labels
    if found.trained and answers is not None and labels is not None:
        yield above_chance(answers, labels, file.artifact.classes, file=file.name)
    if file.artifact.dtype == "int8" and not accuracy_is_limited(found.recipe):
        yield from kept_of_float(file, found)


def _promised(found: Evidence) -> Iterator[Check]:
    """What stages were asked for in latency."""
    for place, promise in promises(found.folder, found.recipe):
        yield _kept(promise, place, found.rows, found.proof)


def _kept(promise: Promise, place: int, rows: Sequence[Row], proof: Delivery) -> Check:
    """The promise of the stage at `place`, held against the float file's times.

    The comparison is with what the stage was given, so there is none where that is not
    what the run began with.
    """
    floats = [
        file
        for file in proof.files
        if file.artifact.dtype == "float32" and file.role not in {"teacher", "start"}
    ]
    roles = {file.role for file in floats[-1:]}
    made = next((f for f in floats if f.role in roles), proof.delivered[0])
    measured = proof.measured(made)
    chain = chain_of(rows)
    against = None
    if chain[place].model.surgery == chain[0].model.surgery:
        start = {each.name for each in proof.files if each.role == "start"}
        pairs = (e for e in proof.comparisons if e.a in start and e.b == made.name)
        against = next(pairs, None)
    return promise.check(measured, against, file=made.name)
