"""What INT8 has to keep of float: defaults of ours, and what `ptq` was asked for."""

from collections.abc import Iterator
from typing import Final

from compress.evidence import Evidence
from compress.proof import Proven
from compress.recipe import Recipe
from compress.reference import drop_from, float_before_int8
from compress.report.records import inner, number
from compress.stages.ptq import Ptq
from export.verify import sqnr_check
from runtime.checks import Check
from runtime.errors import Exit

# What INT8 has to keep of float where nobody said how much: below these a network has
# lost its function, whatever its size. Published INT8 keeps 97 % of answers and more.
KEPT_ANSWERS: Final = 0.90
KEPT_SQNR_DB: Final = 10.0
# Training on the INT8 grids moves answers on purpose; then accuracy tells.
LOST_IN_TRAINING: Final = 0.10


def accuracy_is_limited(recipe: Recipe) -> bool:
    """Whether the user said how much accuracy may be lost."""
    limits = recipe.limits()
    return (limits.top1_drop, limits.top1_min) != (None, None) or any(
        isinstance(stage, Ptq) and (stage.accuracy_drop, stage.flips) != (None, None)
        for _, stage in recipe.steps()
    )


def kept_of_float(file: Proven, found: Evidence) -> Iterator[Check]:
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
    yield sqnr_check(
        changed,
        limit="int8_sqnr_db",
        what="the SQNR of the scores against float32",
        floor_db=KEPT_SQNR_DB,
        file=file.name,
        exit_code=Exit.BUDGET,
    )


def _few(unsure: bool) -> str:
    """What to say where more images might have kept the limit."""
    return "too few images to be sure; judge on more" if unsure else ""


def asked_of_ptq(found: Evidence) -> Iterator[Check]:
    """What `ptq` was asked to lose at most, and what its network lost.

    Files without a network of ours to stand for them, and those on grids of their
    target's own, are asked one by one.
    """
    before, after = (inner(found.quantisation, key) for key in ("float32", "int8"))
    flips = number(after, "flips")
    lost = _lost(number(before, "accuracy"), number(after, "accuracy"), flips)
    files = [file for file in found.proof.delivered if file.artifact.dtype == "int8"]
    alone = [file for file in files if file.parity is None or file.grids is not None]
    for _, stage in found.recipe.steps():
        if not isinstance(stage, Ptq):
            continue
        if not alone or len(alone) < len(files):
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
