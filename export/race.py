"""Sessions timed in turn, again and again, where other programs disturb them least."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Final

import numpy as np

from runtime.session import Session
from runtime.timing import Nanoseconds, timed

Call = Callable[[], object]

# Latencies are compared where other programs on the machine disturb them least.
_PERCENTILE: Final = 10
_ROUNDS: Final = 24
_WARM_UP: Final = 3


def ready(session: Session, *, rng: np.random.Generator, opened: ExitStack) -> Call:
    """One inference of noise by `session`, warmed up; `opened` closes it in the end."""
    opened.enter_context(closing(session))
    bound = session.bind(rng.standard_normal(session.input_shape, dtype=np.float32))
    for _ in range(_WARM_UP):
        bound()
    return bound


def raced(
    calls: Sequence[Call], *, rng: np.random.Generator, seconds: float
) -> Nanoseconds:
    """Samples [calls, rounds] in ns, taken in turn, in random order."""
    parts: list[Nanoseconds] = []
    began = time.perf_counter()
    while not parts or time.perf_counter() - began < seconds:
        row = np.arange(len(calls))
        order = rng.permuted(np.tile(row, (_ROUNDS, 1)), axis=1)
        samples = np.zeros((len(calls), _ROUNDS), np.int64)
        timed(calls, order, samples)
        parts.append(samples)
    return np.concatenate(parts, axis=1)


def latency_ms(samples: Nanoseconds) -> float:
    """The latency while nothing else runs."""
    return float(np.percentile(samples, _PERCENTILE)) / 1e6


def ratio(first: Nanoseconds, second: Nanoseconds) -> float:
    """How many times as long the first takes, in their undisturbed rounds."""
    return latency_ms(first) / latency_ms(second)
