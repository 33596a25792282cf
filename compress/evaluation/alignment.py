"""Two sequences of one story, with pieces that only one of them tells."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

First = TypeVar("First")
Second = TypeVar("Second")


def aligned(
    first: Sequence[First],
    second: Sequence[Second],
    *,
    able: Callable[[First, Second], bool],
    likely: Callable[[First, Second], bool],
) -> list[tuple[int, int]]:
    """Places of elements that belong together, in the order of both.

    Only elements that are `able` to are paired; as many pairs as possible are `likely`
    ones, then as many more as possible are made (Needleman and Wunsch 1970).
    """
    # One likely pair is worth more than all others that could be made.
    many = len(first) + len(second) + 1
    worth = np.zeros((len(first), len(second)), np.int64)
    for row, one in enumerate(first):
        for column, other in enumerate(second):
            if able(one, other):
                worth[row, column] = many if likely(one, other) else 1
    best = np.zeros((len(first) + 1, len(second) + 1), np.int64)
    for row in reversed(range(len(first))):
        for column in reversed(range(len(second))):
            best[row, column] = max(
                best[row + 1, column],
                best[row, column + 1],
                best[row + 1, column + 1] + worth[row, column],
            )
    pairs, row, column = [], 0, 0
    while row < len(first) and column < len(second):
        paired = best[row + 1, column + 1] + worth[row, column]
        if worth[row, column] and best[row, column] == paired:
            pairs.append((row, column))
            row, column = row + 1, column + 1
        elif best[row, column] == best[row + 1, column]:
            row += 1
        else:
            column += 1
    return pairs
