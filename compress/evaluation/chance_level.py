"""Whether a classifier answers better than chance does (Cohen's kappa, 1960)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime.checks import Check
from runtime.intervals import wilson


def above_chance(
    answers: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    *,
    file: str,
) -> Check:
    """The top-1 of a file against what answers of the same shares get by chance.

    answers, labels: int64 [images], classes by index. Chance agrees where an answer and
    a label that know nothing of each other do: the sum over classes of the share of
    answers times the share of labels. That is 1 / classes for even ones, and all that a
    classifier reaches which gives one answer to every image. Top-1 has to be above it
    with its whole 95 % interval; images that all show one class cannot tell.
    """
    count = max(len(answers), len(labels)) or 1
    outputs = int(max(answers.max(initial=0), labels.max(initial=0))) + 1
    given, wanted = (
        np.bincount(each, minlength=outputs) / count for each in (answers, labels)
    )
    chance = float((given * wanted).sum())
    top1 = float((answers == labels).mean())
    low, high = wilson(top1, count)
    one_class = int((wanted > 0).sum()) == 1
    remark = ""
    if given.max() == 1 and not one_class:
        answer = int(given.argmax())
        named = repr(classes[answer]) if answer < len(classes) else f"class {answer}"
        remark = f"it gives one answer, {named}, to all {count} images"
    return Check(
        limit="chance",
        what="top-1 accuracy",
        unit="share",
        bound="more than",
        allowed=chance,
        measured=top1,
        low=low,
        high=high,
        kept=None if one_class else low > chance,
        file=file,
        default=True,
        remark=remark,
    )
