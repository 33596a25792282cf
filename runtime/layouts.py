"""Memory layout as a source of error: a comparison in which files are loaded anew.

Where weights and buffers happen to lie changes a latency by a percent or so, for as
long as a file stays loaded (Mytkowicz et al. 2009, "Producing wrong data without doing
anything obviously wrong"; Curtsinger & Berger 2013, Stabilizer). So a comparison is cut
into parts, and before each the files are loaded again, elsewhere.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from typing import Final

import numpy as np

from runtime.session import Session
from runtime.taking import calls_of
from runtime.timing import Call, Clock, Series, joined, sample

Reopen = Callable[[str], Session]
_LAYOUTS: Final = 6
# A part has so many rounds at least, so that each can tell its own warm-up.
_ROUNDS: Final = 30


def series_in_layouts(  # noqa: PLR0913  # a plan, a clock, and how to load again
    sessions: Mapping[str, Session],
    *,
    reopen: Reopen,
    runs: int,
    seconds: float | None,
    rng: np.random.Generator,
    clock: Clock = time.perf_counter_ns,
) -> Series:
    """Sample the sessions in turn as `timing.sample` does, then others like them.

    `reopen` loads a file by its name; what it gives is closed here. Those of two parts
    are open at a time, beside `sessions`, so that they cannot lie in the same place.
    """
    parts = []
    calls = calls_of(sessions, rng)
    count = _count(calls, runs=runs, seconds=seconds, clock=clock)
    with ExitStack() as current:
        for part in range(count):
            if part:
                following = ExitStack()
                with following:
                    again = {
                        name: following.enter_context(closing(reopen(name)))
                        for name in sessions
                    }
                    calls = calls_of(again, rng)
                    current.close()
                    current.push(following.pop_all())
            parts.append(
                sample(
                    calls,
                    runs=-(-runs // count),
                    seconds=None if seconds is None else seconds / count,
                    rng=rng,
                    clock=clock,
                )
            )
        del calls  # which hold on to sessions that are about to be closed
    return joined(parts)


def _count(
    calls: tuple[Call, ...], *, runs: int, seconds: float | None, clock: Clock
) -> int:
    """Into how many parts the work can be cut."""
    rounds: float = runs
    if seconds is not None:
        for call in calls:  # the first inference lays out memory
            call()
        began = clock()
        for call in calls:
            call()
        rounds = seconds * 1e9 / max(1, clock() - began)
    return max(1, min(_LAYOUTS, int(rounds / _ROUNDS)))
