"""Phases of an answer, apart: cold start, preprocessing, inference, postprocessing."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Final

import numpy as np

from runtime.artifact import Artifact
from runtime.typed import Between

_Ms = Annotated[float, Between(0, 1e12)]
_REPEATS: Final = 15
_TOP: Final = 5


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """A fresh process from its first instruction to its first answer, in ms.

    The files lie in the page cache already: what a disk takes is not in it.
    """

    total_ms: _Ms  # from starting the process to the first answer
    import_ms: _Ms  # of the interpreter, numpy included
    load_ms: _Ms  # from the file to a session that can run
    first_ms: _Ms  # the first inference

    def as_text(self) -> str:
        """One clause."""
        return (
            f"cold start {self.total_ms:.0f} ms (import {self.import_ms:.0f}, load "
            f"{self.load_ms:.0f}, first inference {self.first_ms:.1f})"
        )


@dataclass(frozen=True, kw_only=True)
class Edges:
    """What surrounds an inference on a device, medians in ms; decoding is not in it.

    before_ms: from uint8 pixels of the right size to the network's input; after_ms:
    from its scores to the best five.
    """

    before_ms: _Ms
    after_ms: _Ms

    def as_text(self) -> str:
        """One clause."""
        return (
            f"preprocessing {self.before_ms:.3f} ms, "
            f"postprocessing {self.after_ms:.3f} ms an image"
        )


def edges(artifact: Artifact, rng: np.random.Generator) -> Edges | None:
    """Time them for one image; None where the file does not say how it sees pixels."""
    see = artifact.preprocess
    if see is None or not artifact.classes:
        return None
    pixels = rng.integers(0, 256, (1, see.size, see.size, 3), dtype=np.uint8)
    scores = rng.standard_normal((1, len(artifact.classes)), dtype=np.float32)
    return Edges(
        before_ms=_median_ms(lambda: see(pixels)),
        after_ms=_median_ms(lambda: best(scores)),
    )


def best(scores: "np.typing.NDArray[np.float32]") -> list[list[tuple[int, float]]]:
    """Of each row of `scores` [n, classes] the best five: class and softmax share."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares = shifted / shifted.sum(axis=1, keepdims=True)
    order = np.argsort(-shares, axis=1)[:, :_TOP]
    return [
        [(int(place), float(row[place])) for place in places]
        for row, places in zip(shares, order, strict=True)
    ]


def _median_ms(call: Callable[[], object]) -> float:
    """The median of a few calls."""
    found = []
    for _ in range(_REPEATS):
        began = time.perf_counter_ns()
        call()
        found.append(time.perf_counter_ns() - began)
    return median(found) / 1e6
