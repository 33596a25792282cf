"""How sure one may be of a percentile: the bootstrap, for samples in time order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]
Statistic = Callable[[Samples], Samples]  # [resamples, n] -> [resamples]

# Efron & Tibshirani 1993, section 14.3: percentile intervals want about 1000 resamples.
RESAMPLES: Final = 1000
CONFIDENCE: Final = 0.95
# Resamples are drawn in portions, so that memory stays below 32 MB.
_PORTION_ELEMENTS: Final = 1 << 21


@dataclass(frozen=True)
class Estimate:
    """A number and the interval that holds it in 95 of 100 cases; in that unit."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> "Estimate":
        """The same in another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


def percentile(samples: Samples, q: float, rng: np.random.Generator) -> Estimate:
    """The q-th percentile (0 to 100) of `samples` [n], in their unit."""
    return estimate(samples, lambda drawn: np.percentile(drawn, q, axis=-1), rng)


def estimate(
    samples: Samples, statistic: Statistic, rng: np.random.Generator
) -> Estimate:
    """`statistic` of `samples` [n] with its 95 % bootstrap percentile interval.

    Neighboring inferences resemble each other, so whole blocks of about n^(1/3)
    neighbors are drawn, around the end if need be (circular block bootstrap, Politis &
    Romano 1992; the length is the order that Hall, Horowitz & Jing 1995 derive). Far
    out in the tail the bootstrap is optimiztic: of 200 samples two are beyond p99.
    """
    count = len(samples)
    block = max(1, round(count ** (1 / 3)))
    blocks = -(-count // block)
    portion = max(1, _PORTION_ELEMENTS // count)
    offsets = np.arange(block)
    found = []
    for start in range(0, RESAMPLES, portion):
        size = min(portion, RESAMPLES - start)
        first = rng.integers(0, count, size=(size, blocks, 1))
        index = ((first + offsets) % count).reshape(size, -1)[:, :count]
        found.append(statistic(samples[index]))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(found), [tail, 1 - tail])
    return Estimate(float(statistic(samples[None])[0]), float(low), float(high))
