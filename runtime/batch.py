"""Batches as files take them: the right shape, and as many images as fit."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.artifact import Artifact
from runtime.errors import InputRejectedError

Batch = npt.NDArray[np.float32]
# 400 MB of float32: two images of 4096 x 4096, or 600 of 224 x 224, at once.
LARGEST_INPUT: Final = 100_000_000


def check_fits(batch: Batch, dims: tuple[int | None, ...], *, path: Path) -> None:
    """Raise unless `batch` fits a file whose free dimensions are None.

    The number of images is left out: `in_slices` deals with it.
    """
    fits = len(batch.shape) == len(dims) and all(
        want is None or size == want
        for size, want in zip(batch.shape[1:], dims[1:], strict=True)
    )
    if not fits:
        wanted = ["n", *("any" if size is None else str(size) for size in dims[1:])]
        raise InputRejectedError(
            f"{path}: a batch of shape {list(batch.shape)} was given, the file takes "
            f"[{', '.join(wanted)}]; check the size and the layout (NCHW or NHWC)"
        )


def answered(
    step: Callable[[Batch], Batch],
    batch: Batch,
    dims: tuple[int | None, ...],
    *,
    path: Path,
) -> Batch:
    """Run a file whose free dimensions are None over any number of images."""
    check_fits(batch, dims, path=path)
    if not dims or dims[0] is None:
        return step(batch)
    return in_slices(step, batch, fixed=dims[0])


def in_slices(step: Callable[[Batch], Batch], batch: Batch, *, fixed: int) -> Batch:
    """Run a file that takes `fixed` images at a time over any number of them.

    The last slice is filled up by repeating its last image, whose extra answers are
    dropped.
    """
    answers = []
    for start in range(0, len(batch), fixed):
        piece = batch[start : start + fixed]
        missing = fixed - len(piece)
        if missing:
            piece = np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)])
        answers.append(step(piece)[: fixed - missing])
    return np.concatenate(answers)


def in_layout_of(artifact: Artifact, batch: Batch) -> Batch:
    """Images [n, 3, height, width] as the file wants them: NCHW or NHWC."""
    nhwc = artifact.preprocess is not None and artifact.preprocess.layout == "NHWC"
    return np.ascontiguousarray(batch.transpose(0, 2, 3, 1)) if nhwc else batch


def check_rows(found: Batch, *, images: int, path: Path) -> Batch:
    """Give `found` back if it holds something for each image."""
    if found.ndim == 0 or len(found) != images:
        raise _no_scores(found, images=images, path=path)
    return found


def check_scores(scores: Batch, *, images: int, path: Path) -> Batch:
    """Give `scores` back if they are [images, classes], as whoever ranks them needs."""
    if scores.ndim != 2 or len(scores) != images or scores.shape[1] == 0:  # noqa: PLR2004  # [n, classes]
        raise _no_scores(scores, images=images, path=path)
    return scores


def _no_scores(found: Batch, *, images: int, path: Path) -> InputRejectedError:
    """Why an answer is none of a classifier."""
    return InputRejectedError(
        f"{path}: answers a batch of {images} with numbers of shape "
        f"{list(found.shape)}; allowed: a row of scores for each, [n, classes]; "
        "only classifiers are judged"
    )


def check_size(shape: Sequence[int], *, path: Path) -> None:
    """Refuse an input that no image is as large as; a batch of it would be made up."""
    if math.prod(shape) > LARGEST_INPUT:
        raise InputRejectedError(
            f"{path}: takes an input of shape {list(shape)}; allowed: at most "
            f"{LARGEST_INPUT} numbers"
        )
