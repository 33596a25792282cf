"""Which network a run's accuracy is held against, and by how much a file is worse."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compress.int8.simulate import QuantizedNet
from compress.pipeline.exported import ExportedFile
from compress.pipeline.file_judge import PARITY_IMAGES, stride
from compress.pipeline.rows import Row, chain_of, last_float
from compress.recipe.recipe import Recipe
from compress.recipe.training import Training
from runtime.intervals import paired_difference


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What accuracy is held against: a row's name, and what it answered.

    answers, labels: int64 [images].
    """

    name: str
    answers: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Top-1 lost against a reference on the same images, with its 95 % interval."""

    start: float  # the reference's top-1 on these images
    low: float
    high: float


def was_trained(recipe: Recipe, rows: Sequence[Row]) -> bool:
    """Whether the run's network ever learned: its weights came trained, or it did."""
    return chain_of(rows)[0].model.trained or any(
        isinstance(stage, Training) and stage.epochs > 0 for _, stage in recipe.steps()
    )


def reference_of(recipe: Recipe, rows: Sequence[Row]) -> Reference | None:
    """The best trained float network that the run had before it began to compress.

    For `distill` that is the teacher, unless what it teaches was better before. None
    where there is no such network whose accuracy is known.
    """
    names = [name for name, _ in recipe.steps()]
    chain = chain_of(rows)
    first = next((i for i, name in enumerate(names) if name != "finetune"), len(names))
    compresses = first < len(names)
    found = [
        row
        for row in chain[: first + 1]
        if (row.name != "start" or row.model.trained)
        and not (compresses and isinstance(row.model.net, QuantizedNet))
    ]
    if compresses and names[first] == "distill":
        found += [row for row in rows if row.name == "teacher"]
    known = [(row.top1, row) for row in found if row.top1 is not None]
    if not known:
        return None
    # Of two that are equally good, the later one.
    _, best = max(reversed(known), key=lambda each: each[0])
    return _answered(best)


def _answered(row: Row) -> Reference | None:
    """What a row answered; None where labels do not fit."""
    given = row.given
    if given is None:
        return None
    return Reference(name=row.name, answers=given.answers, labels=given.labels)


def float_before_int8(rows: Sequence[Row]) -> Reference | None:
    """The float network that the last one was quantized from."""
    row = last_float(rows)
    return None if row is None else _answered(row)


def drop_from(reference: Reference | None, file: ExportedFile) -> Drop | None:
    """How much `file` lost; None where they were not asked the same images."""
    if reference is None or file.answers is None or file.labels is None:
        return None
    step = stride(reference.labels, PARITY_IMAGES)
    labels, given = reference.labels[::step], reference.answers[::step]
    if not np.array_equal(labels, file.labels):
        return None
    was, now = given == labels, file.answers == labels
    low, high = paired_difference(
        int((was & ~now).sum()), int((now & ~was).sum()), len(labels)
    )
    return Drop(start=float(was.mean()), low=low, high=high)
