"""Chance as a pure function: numbers that depend on their names and on nothing else.

No generator is kept and none is disturbed, so a batch may be made by any thread, in
any order, and a resumed run sees what the interrupted one would have seen.
"""

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt

# Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators": the
# increment and the finalizer of SplitMix64.
_INCREMENT: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)


def _mixed(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finalizer: every bit in touches every bit out."""
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def uniforms(
    purpose: str,
    seed: int,
    view: int,
    index: npt.NDArray[np.int64],
    count: int,
) -> npt.NDArray[np.float64]:
    """Draw [n, count] numbers in [0, 1), a function of the arguments alone.

    index: int64 [n]; row i depends on (purpose, seed, view, index[i]) and not on the
    rows beside it. The same on every machine and with every version of numpy.
    """
    name = f"{purpose}/{seed}/{view}".encode()
    key = np.frombuffer(hashlib.blake2b(name, digest_size=8).digest(), "<u8")
    state = _mixed(_mixed(index.astype(np.uint64) * _INCREMENT + key) ^ key)
    steps = np.arange(1, count + 1, dtype=np.uint64) * _INCREMENT
    words = _mixed(state[:, None] + steps[None, :])
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def shuffled(purpose: str, seed: int, turn: int, count: int) -> npt.NDArray[np.int64]:
    """Put 0..count-1 into an order that depends on (purpose, seed, turn) alone."""
    keys = uniforms(purpose, seed, turn, np.arange(count, dtype=np.int64), 1)[:, 0]
    return np.argsort(keys, kind="stable").astype(np.int64)
