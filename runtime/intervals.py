"""Confidence intervals of shares and of their paired differences, in closed form."""

import math
from typing import Final

# 97.5 % quantile of the normal distribution: two-sided 95 % intervals.
_Z: Final = 1.959963984540054


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % score interval of a share that was seen on `count` things (Wilson 1927).

    Nothing seen says nothing: the whole of [0, 1].
    """
    if count == 0:
        return 0.0, 1.0
    center = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = (
        _Z
        / (1 + _Z**2 / count)
        * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    )
    return max(0.0, center - half), min(1.0, center + half)


def paired_difference(lost: int, won: int, count: int) -> tuple[float, float]:
    """95 % interval of (lost - won) / count where both were seen on the same things.

    lost, won: things on which only the first, or only the second, was right. Wald's
    interval with half a thing added to each cell of the table, which keeps its promise
    on few things, too (Agresti and Min 2005).
    """
    total = count + 2
    only_first, only_second = lost + 0.5, won + 0.5
    center = (only_first - only_second) / total
    spread = (only_first + only_second) / total - center**2
    half = _Z * math.sqrt(max(0.0, spread) / total)
    return max(-1.0, center - half), min(1.0, center + half)
