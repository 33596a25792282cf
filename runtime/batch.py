"""Batches as files take them: the right shape, and as many images as fit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import InputRejectedError

Batch = npt.NDArray[np.float32]


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
