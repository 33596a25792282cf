"""Time calls, and find out when they have become steady."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.errors import DeviceError

Call = Callable[[], object]
Clock = Callable[[], int]  # nanoseconds from any origin
Nanoseconds = npt.NDArray[np.int64]

# A series is given up as unsteady after this many times the runs that were asked for.
_PATIENCE: Final = 4
# A time budget ends early here: more samples would not make a percentile any surer.
_MOST_ROUNDS: Final = 100_000
_LEAST_ROUNDS: Final = 10
# Calls of each candidate between two looks at the clock, and the percentile of these
# samples that other programs on the machine leave alone.
_SLICE: Final = 24
_UNDISTURBED: Final = 10
# The clock is looked at between portions of about this length.
_PORTION_NS: Final = 50_000_000
# Beginnings whose median is this close to the rest are no warm-up worth the name; it is
# also the "1-2 %" within which Georges et al. 2007 call a series steady.
_SAME: Final = 0.02
# First runs slower than this percentile of all are warm-up; in one series of twenty
# that costs a run which was slow by chance.
_SLOW_PERCENTILE: Final = 95
# A cut that MSER puts into the last tenth of what it may choose is none.
_UNDECIDED: Final = 0.9


@dataclass(frozen=True)
class Series:
    """Every sample [calls, rounds] in ns; the rounds before `start` are warm-up."""

    samples_ns: Nanoseconds
    start: int
    steady: bool


def steady_from(samples: Nanoseconds) -> int | None:
    """Index of the first sample after warm-up; None if the series has not settled.

    MSER (White 1997): cut where the standard error of what is left is smallest; a cut
    in the second half means that there is too little to judge by (Hoad, Robinson &
    Davies 2010 found this rule the best of 44). It works on ranks here, since a
    latency's rare spikes would otherwise outweigh everything, and a cut counts only if
    it changes the median. Slow first runs go in any case.
    """
    count = len(samples)
    _, place, ties = np.unique(samples, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - ties / 2)[place]  # equal samples share a rank
    # Sums over every tail [d:], from the last one backwards.
    length = np.arange(count, 0, -1)
    total = np.cumsum(ranks[::-1])[::-1]
    squares = np.cumsum(ranks[::-1] ** 2)[::-1]
    error = (squares - total**2 / length) / length.astype(float) ** 2
    limit = max(1, count // 2)
    cut = int(np.argmin(error[:limit]))
    if cut and abs(np.median(samples[:cut]) / np.median(samples[cut:]) - 1) > _SAME:
        return None if cut >= _UNDECIDED * limit else cut
    return int(np.argmin(samples > np.percentile(samples, _SLOW_PERCENTILE)))


def sample(
    calls: Sequence[Call],
    *,
    runs: int,
    seconds: float | None,
    rng: np.random.Generator,
    clock: Clock = time.perf_counter_ns,
) -> Series:
    """Time `calls` in turn, in random order within each round, until they are steady.

    Ends when `runs` rounds after the warm-up are there, or after `_PATIENCE` times as
    many without a steady state; with `seconds`, ends when those have passed.
    """
    most = runs * _PATIENCE if seconds is None else _MOST_ROUNDS
    samples = np.zeros((len(calls), most), np.int64)
    done, portion, wanted = 0, 1, runs if seconds is None else most
    started = clock()
    while done < wanted:
        portion = min(portion, wanted - done)
        order = rng.permuted(np.tile(np.arange(len(calls)), (portion, 1)), axis=1)
        before = clock()
        timed(calls, order, samples[:, done : done + portion], clock=clock)
        now = clock()
        if not samples[:, done : done + portion].all():
            raise DeviceError(
                "measurement: the clock did not advance during an inference; "
                "this machine's timer is too coarse for this model"
            )
        done += portion
        round_ns = max(1, (now - before) // portion)
        portion = max(1, _PORTION_NS // round_ns)
        if seconds is not None and now - started >= seconds * 1e9:
            break
        if seconds is None and done >= wanted:
            start = _start(samples[:, :done])
            settled = done - start if start is not None else 0
            # At least a tenth more each time, so that the checks stay cheap.
            missing = max(runs - settled, -(-runs // 10)) if settled < runs else 0
            wanted = min(most, done + missing)
    return _series(samples[:, :done], runs=runs if seconds is None else done)


def joined(parts: Sequence[Series]) -> Series:
    """Several series as one: what was warm-up in each comes first, then the rest."""
    warmup = [each.samples_ns[:, : each.start] for each in parts]
    steady = [each.samples_ns[:, each.start :] for each in parts]
    return Series(
        np.concatenate([*warmup, *steady], axis=1),
        sum(each.start for each in parts),
        all(each.steady for each in parts),
    )


def in_turn(
    calls: Sequence[Call], *, seconds: float, rng: np.random.Generator
) -> Nanoseconds:
    """Samples [calls, rounds] of `calls`, taken in turn, in random order, no warm-up.

    For choosing between candidates: see `undisturbed_ms`. Ends with the round of
    `_SLICE` calls each after which `seconds` have passed.
    """
    parts: list[Nanoseconds] = []
    began = time.perf_counter()
    while not parts or time.perf_counter() - began < seconds:
        order = rng.permuted(np.tile(np.arange(len(calls)), (_SLICE, 1)), axis=1)
        samples = np.zeros((len(calls), _SLICE), np.int64)
        timed(calls, order, samples)
        parts.append(samples)
    return np.concatenate(parts, axis=1)


def undisturbed_ms(samples_ns: Nanoseconds) -> float:
    """The latency while nothing else runs: the 10th percentile of samples [rounds].

    Candidates are compared where other programs disturb them least.
    """
    return float(np.percentile(samples_ns, _UNDISTURBED)) / 1e6


def timed(
    calls: Sequence[Call],
    order: npt.NDArray[np.integer],
    samples_ns: Nanoseconds,
    *,
    clock: Clock = time.perf_counter_ns,
) -> None:
    """Time each call of `order` [rounds, calls] into `samples_ns` [calls, rounds].

    The garbage collector rests meanwhile, as in `timeit`.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        for index, turn in enumerate(order.tolist()):
            for which in turn:
                call = calls[which]
                start = clock()
                call()
                samples_ns[which, index] = clock() - start
    finally:
        if collected:
            gc.enable()


def _start(samples_ns: Nanoseconds) -> int | None:
    """The round from which on every call is steady; None if one is not."""
    starts = [steady_from(row) for row in samples_ns]
    found = [start for start in starts if start is not None]
    return max(found) if len(found) == len(starts) else None


def _series(samples_ns: Nanoseconds, *, runs: int) -> Series:
    """The samples with their warm-up marked, if there are enough of them."""
    done = samples_ns.shape[1]
    start = _start(samples_ns)
    # Without a steady state the later half, or the last `runs`, are all there is.
    used = min(runs, done - done // 2) if start is None else done - start
    if used < _LEAST_ROUNDS:
        raise DeviceError(
            f"measurement: {used} run(s) in that time, at least {_LEAST_ROUNDS} are "
            "needed; give more --seconds, or --runs instead"
        )
    return Series(samples_ns, done - used, start is not None)
