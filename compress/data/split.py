"""Which images are held out and which are left out: stratified, seeded, fixed."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from compress.data.keyed_rng import shuffled

# What is held out does not follow a run's seed: else `eval --seed 1` would be asked
# about images that `distill --seed 0` was trained on.
HOLD_OUT_SEED: Final = 0


def stratified(
    labels: npt.NDArray[np.int64], size: int, *, seed: int, purpose: str
) -> npt.NDArray[np.int64]:
    """Choose `size` rows, each class by its share (largest remainder), in order.

    labels: int64 [n]. Every class keeps at least one row where size >= classes.
    """
    kinds, counts = np.unique(labels, return_counts=True)
    quota = counts * (size / max(len(labels), 1))
    take = np.maximum(np.floor(quota).astype(np.int64), min(1, size // len(kinds)))
    by_need = np.argsort(-(quota - take), kind="stable")
    while take.sum() < size:
        for kind in by_need:
            if take.sum() < size and take[kind] < counts[kind]:
                take[kind] += 1
    while take.sum() > size:  # the guaranteed rows of rare classes cost the largest
        take[int(np.argmax(take))] -= 1
    order = shuffled(purpose, seed, 0, len(labels))
    chosen = [
        order[labels[order] == kind][:count]
        for kind, count in zip(kinds, take, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def held_out(
    labels: npt.NDArray[np.int64], fraction: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows to train on and rows to validate on; both have every class.

    labels: int64 [n], each class at least twice; `fraction` of the rows, rounded up,
    is held out.
    """
    kinds, counts = np.unique(labels, return_counts=True)
    size = math.ceil(fraction * len(labels))
    size = min(max(size, len(kinds)), int((counts - 1).sum()))
    order = shuffled("hold out", HOLD_OUT_SEED, 0, len(labels))
    quota = counts * (size / len(labels))
    take = np.clip(np.floor(quota).astype(np.int64), 1, counts - 1)
    for kind in np.argsort(-(quota - take), kind="stable"):
        if take.sum() < size and take[kind] < counts[kind] - 1:
            take[kind] += 1
    val = np.concatenate(
        [order[labels[order] == k][:c] for k, c in zip(kinds, take, strict=True)]
    )
    train = np.setdiff1d(np.arange(len(labels)), val)
    return train.astype(np.int64), np.sort(val).astype(np.int64)
