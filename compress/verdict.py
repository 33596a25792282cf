"""The verdict: every limit held against every delivered file that it applies to.

Limits of the user's are the budget, what a stage was asked for, and the agreement of a
file with its network. Where none speaks of accuracy, defaults do: INT8 must not have
lost the function, and what was trained must answer better than chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from compress.chance import above_chance
from compress.promise import Promise, promises
from compress.proof import Proof, Proven
from compress.recipe import Export, Recipe
from compress.reference import Reference, drop_from, float_before_int8
from compress.report.records import Record, inner, number
from compress.rows import Row, chain_of
from compress.stages.ptq import Ptq
from export.verify import SQNR_FLOORS_DB, parity_checks
from runtime.budget import Spent
from runtime.checks import Check
from runtime.errors import Exit
from runtime.target import target

# What INT8 has to keep of float where nobody said how much: below these a network has
# lost its function, whatever its size. Published INT8 keeps 97 % of answers and more.
KEPT_ANSWERS: Final = 0.90
KEPT_SQNR_DB: Final = 10.0
# Training on the INT8 grids moves answers on purpose; then accuracy tells.
LOST_IN_TRAINING: Final = 0.10
LOCAL: Final = "this machine"
# Limits on what only a device can tell.
_MEASURED: Final = frozenset({"latency_ms", "peak_rss_bytes"})


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a run found, as far as its verdict hangs on it.

    reference: what accuracy is held against; trained: whether the network ever learned;
    quantisation: what the last stage that quantised found, empty where none did.
    """

    recipe: Recipe
    folder: Path
    rows: Sequence[Row]
    proof: Proof
    reference: Reference | None
    trained: bool
    quantisation: Record


def checks_of(found: Evidence) -> tuple[Check, ...]:
    """Every limit of a run, the user's and the defaults, file by file."""
    promised = tuple(_promised(found))
    held = [
        check
        for file in found.proof.delivered
        for check in (
            *_proven(file, found.recipe.export),
            *_budgeted(file, found, promised),
            *_function(file, found),
        )
    ]
    return (*held, *_climbed(found), *promised)


def checks_alone(file: Proven, found: Evidence) -> tuple[Check, ...]:
    """The same of a file that may be shipped in place of one that was delivered."""
    return (
        *_proven(file, found.recipe.export),
        *_budgeted(file, found, ()),
        *_function(file, found),
    )


def devices_of(file: Proven, found: Evidence) -> tuple[str, ...]:
    """What a file is for: devices that the recipe names, else this machine."""
    if found.proof.measured(file) is None and file.artifact.target is not None:
        return (file.artifact.target,)
    named = [target(name) for name in found.recipe.export.target]
    suits = tuple(
        each.name
        for each in named
        if each.format == file.artifact.format == "tflite"
        or each.name == file.artifact.target
    )
    return suits or (LOCAL,)


def _timed_for_its_device(file: Proven, found: Evidence) -> bool:
    """Whether this machine, which timed the file, is what the file is for.

    One TFLite file serves every device; milliseconds of this one are not theirs.
    """
    elsewhere = file.artifact.format == "tflite" and devices_of(file, found) != (LOCAL,)
    return found.proof.measured(file) is not None and not elsewhere


def _proven(file: Proven, export: Export) -> Iterator[Check]:
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
    file: Proven, found: Evidence, promised: Sequence[Check]
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
    here = _timed_for_its_device(file, found)
    others = any(_timed_for_its_device(each, found) for each in found.proof.delivered)
    for check in limits.checks(_spent(file, found), file=file.name):
        if check.limit in _MEASURED and not here and others:
            remark = "this machine is not its device; measure it there"
            yield replace(check, kept=None, remark=remark)
        else:
            yield check


def _spent(file: Proven, found: Evidence) -> Spent:
    """What a file costs."""
    drop = drop_from(found.reference, file)
    here = _timed_for_its_device(file, found)
    latency = found.proof.measured(file) if here else None
    native = latency is not None and latency.kind == "native"
    named = ""
    if found.reference is not None and drop is not None:
        named = f"{found.reference.name} ({drop.start * 100:.2f} % on the same images)"
    return Spent(
        top1=file.top1,
        top1_start=drop.start if drop else None,
        start=named,
        top1_drop_interval=(drop.low, drop.high) if drop else None,
        size_bytes=file.artifact.size_bytes,
        latency_ms=latency.p50_ms if latency and native else None,
        peak_rss_bytes=latency.memory.peak_rss_bytes
        if latency and latency.memory
        else None,
    )


def _function(file: Proven, found: Evidence) -> Iterator[Check]:
    """Defaults: better than chance where it was trained, and in INT8 still itself."""
    answers, labels = file.answers, file.labels
    if found.trained and answers is not None and labels is not None:
        yield above_chance(answers, labels, file.artifact.classes, file=file.name)
    if file.artifact.dtype == "int8" and not _accuracy_is_limited(found.recipe):
        yield from _int8(file, found)


def _accuracy_is_limited(recipe: Recipe) -> bool:
    """Whether the user said how much accuracy may be lost."""
    limits = recipe.limits()
    return (limits.top1_drop, limits.top1_min) != (None, None) or any(
        isinstance(stage, Ptq) and (stage.accuracy_drop, stage.flips) != (None, None)
        for _, stage in recipe.steps()
    )


def _int8(file: Proven, found: Evidence) -> Iterator[Check]:
    """What an INT8 file has kept of the float network it was made from."""
    before = float_before_int8(found.rows)
    trained = any(name == "qat" for name, _ in found.recipe.steps())
    drop = drop_from(before, file) if trained else None
    if before is not None and drop is not None and file.top1 is not None:
        lost = drop.start - file.top1
        yield Check(
            limit="int8_top1_drop",
            what=f"top-1 lost in INT8 against {before.name}",
            unit="points",
            bound="at most",
            allowed=LOST_IN_TRAINING,
            measured=lost,
            low=drop.low,
            high=drop.high,
            kept=drop.high <= LOST_IN_TRAINING,
            file=file.name,
            default=True,
            remark=_few(lost <= LOST_IN_TRAINING < drop.high),
        )
        return
    if (changed := file.changed) is None:
        return
    if changed.argmax_agreement is not None and changed.interval is not None:
        low, high = changed.interval
        yield Check(
            limit="int8_agreement",
            what="the agreement with float32, lower end,",
            unit="share",
            bound="at least",
            allowed=KEPT_ANSWERS,
            measured=changed.argmax_agreement,
            low=low,
            high=high,
            kept=low >= KEPT_ANSWERS,
            file=file.name,
            default=True,
            remark=_few(low < KEPT_ANSWERS <= changed.argmax_agreement),
        )
    yield Check(
        limit="int8_sqnr_db",
        what="the SQNR of the scores against float32",
        unit="dB",
        bound="at least",
        allowed=KEPT_SQNR_DB,
        measured=changed.sqnr_db,
        kept=changed.above(KEPT_SQNR_DB),
        file=file.name,
        default=True,
    )


def _few(unsure: bool) -> str:
    """What to say where more images might have kept the limit."""
    return "too few images to be sure; judge on more" if unsure else ""


def _climbed(found: Evidence) -> Iterator[Check]:
    """What `ptq` was asked to lose at most, and what its network lost.

    Files without a network of ours to stand for them are asked one by one.
    """
    before, after = (inner(found.quantisation, key) for key in ("float32", "int8"))
    flips = number(after, "flips")
    lost = _lost(number(before, "accuracy"), number(after, "accuracy"), flips)
    alone = [
        file
        for file in found.proof.delivered
        if file.artifact.dtype == "int8" and file.parity is None
    ]
    for _, stage in found.recipe.steps():
        if not isinstance(stage, Ptq):
            continue
        if not alone:
            yield from _asked(stage, lost, flips, file="")
        for file in alone:
            changed = file.changed.argmax_agreement if file.changed else None
            flipped = None if changed is None else 1 - changed
            was = number(before, "accuracy")
            yield from _asked(
                stage, _lost(was, file.top1, flipped), flipped, file=file.name
            )


def _lost(was: float | None, now: float | None, flips: float | None) -> float | None:
    """Accuracy lost, or answers changed where labels do not fit."""
    return flips if was is None or now is None else was - now


def _asked(
    stage: Ptq, lost: float | None, flips: float | None, *, file: str
) -> Iterator[Check]:
    """The limits of the ladder that are set."""
    for limit, what, allowed, measured in (
        ("accuracy_drop", "accuracy lost in INT8", stage.accuracy_drop, lost),
        ("flips", "answers changed in INT8", stage.flips, flips),
    ):
        if allowed is not None:
            yield Check(
                limit=limit,
                what=f"ptq: {what}",
                unit="share",
                bound="at most",
                allowed=allowed,
                measured=measured,
                # Differences of fractions are exact to this much.
                kept=measured is not None and measured <= allowed + 1e-9,
                file=file,
            )


def _promised(found: Evidence) -> Iterator[Check]:
    """What stages were asked for in latency."""
    for place, promise in promises(found.folder, found.recipe):
        yield _kept(promise, place, found.rows, found.proof)


def _kept(promise: Promise, place: int, rows: Sequence[Row], proof: Proof) -> Check:
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
