"""Where INT8 pays, measured: parts of a network in float wherever that is faster."""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import numpy as np

from export.in_turn import ratio, ready
from runtime.errors import InputRejectedError
from runtime.session import Session, open_session
from runtime.timing import Call, Nanoseconds, in_turn, undisturbed_ms

Accepts = Callable[[frozenset[str]], bool]
Tell = Callable[[str], None]
# A file that computes these nodes in float, or, given None, the float network, loaded.
Opener = Callable[[frozenset[str] | None], Session]
# Writes such a file into a folder.
Writer = Callable[[frozenset[str] | None, Path], Path]

Handle = TypeVar("Handle")

# Of two placements this close, the one with more INT8 is kept: timings vary as much.
_WORTH: Final = 0.015
# The first operator in float has to be worth more: an INT8 file computes what the
# network does to the bit, one with float sums ahead of INT8 does not, and the doctor's
# MobileNetV2 with eight of them gave another answer to 1.5 % of the images.
_WORTH_BITS: Final = 0.1
# Longer beginnings are given up after this many that were no gain.
_PATIENCE: Final = 4


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How far a search goes; a candidate that is begun is timed to its end.

    beginnings: cuts up to which the network is tried in float, at most; parts: pieces
    between cuts that are tried one by one, at most. A candidate is timed for
    `slice_seconds`, twice if it looks faster, the winner for `final_seconds`.
    """

    seconds: float = 60.0
    slice_seconds: float = 1.5
    final_seconds: float = 6.0
    beginnings: int | None = None
    parts: int = 16


MANY: Final = Effort()
# Files that take a quarter of a minute to write are tried where it is likeliest to pay.
FEW: Final = Effort(seconds=180.0, beginnings=2, parts=0)
_WHOLE: Final = "all in INT8"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A placement that was tried; ratio: float's latency over its own, in one run.

    Latencies are 10th percentiles, which other programs on the machine leave alone;
    None where the format has no way to compute those nodes in float, or nobody timed.
    """

    name: str
    left_float: frozenset[str]
    latency_ms: float | None
    ratio: float | None
    accepted: bool | None = None  # None: never judged, since it was not faster

    def as_record(self) -> dict[str, object]:
        """Plain data, for reports; `left_float` as the number of operators."""
        return {
            "name": self.name,
            "float_operators": len(self.left_float),
            "latency_ms": self.latency_ms,
            "ratio": self.ratio,
            "accepted": self.accepted,
        }


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The fastest way to place Q and DQ, and every other one that was timed.

    left_float: nodes that compute in float. float_wins: the float32 file is at least as
    fast. measured: False where this machine is not the target; all is INT8 then.
    """

    left_float: frozenset[str]
    float_wins: bool
    candidates: tuple[Candidate, ...]
    measured: bool = True

    def as_record(self) -> dict[str, object]:
        """Plain data, for reports."""
        return {
            "float_operators": len(self.left_float),
            "float_wins": self.float_wins,
            "measured": self.measured,
            "candidates": [each.as_record() for each in self.candidates],
        }

    def as_text(self) -> str:
        """Say it in one clause."""
        if not self.measured:
            return "all in INT8; this machine is not the target, so nothing was timed"
        chosen, other = self.candidates[0], self.candidates[-1]
        times = f"{chosen.latency_ms:.2f} ms against {other.latency_ms:.2f} ms in float"
        if self.float_wins:
            return f"float32 is faster: {chosen.name} takes {times}"
        return f"{chosen.name}: {times}, {chosen.ratio:.2f}x"


def untimed() -> Placement:
    """Everything in INT8, for a device that this machine is not."""
    whole = Candidate(name=_WHOLE, left_float=frozenset(), latency_ms=None, ratio=None)
    return Placement(
        left_float=frozenset(), float_wins=False, candidates=(whole,), measured=False
    )


def opened_by(write: Writer) -> Opener:
    """Loads what `write` writes here, one thread; sessions need no file any more."""

    def opened(left: frozenset[str] | None) -> Session:
        with tempfile.TemporaryDirectory() as folder:
            return open_session(write(left, Path(folder)))

    return opened


class Timer(Protocol[Handle]):
    """Makes candidates, and times them in turn somewhere."""

    def made(self, left: frozenset[str] | None) -> Handle:
        """The file of a candidate, ready to be timed; see `Opener`."""
        ...

    def times(self, candidates: Sequence[Handle], *, seconds: float) -> Nanoseconds:
        """Samples [candidates, rounds] in ns, taken within about so many seconds."""
        ...


@dataclass(frozen=True, kw_only=True)
class LocalTimer:
    """Candidates as sessions of this process; `sessions` closes them in the end."""

    opened: Opener
    rng: np.random.Generator
    sessions: ExitStack

    def made(self, left: frozenset[str] | None) -> Call:
        """One inference of a candidate."""
        return ready(self.opened(left), rng=self.rng, opened=self.sessions)

    def times(self, candidates: Sequence[Call], *, seconds: float) -> Nanoseconds:
        """As `runtime.timing.in_turn` takes them."""
        return in_turn(candidates, rng=self.rng, seconds=seconds)


def placed(  # noqa: PLR0913  # where one may cut, and how to choose
    opened: Opener,
    *,
    cuts: Sequence[frozenset[str]],
    gates: frozenset[str],
    rng: np.random.Generator,
    effort: Effort = MANY,
    accepts: Accepts = lambda _: True,
    tell: Tell = lambda _: None,
) -> Placement:
    """Find the placement that is fastest on this machine; see `placed_by`."""
    with ExitStack() as sessions:
        timer = LocalTimer(opened=opened, rng=rng, sessions=sessions)
        return placed_by(
            timer, cuts=cuts, gates=gates, effort=effort, accepts=accepts, tell=tell
        )


def placed_by(  # noqa: PLR0913  # as above
    timer: Timer[Handle],
    *,
    cuts: Sequence[frozenset[str]],
    gates: frozenset[str],
    effort: Effort = MANY,
    accepts: Accepts = lambda _: True,
    tell: Tell = lambda _: None,
) -> Placement:
    """Find the placement that is fastest where `timer` times, scales unchanged.

    Tried are: everything in INT8; the beginning in float up to each of the first
    `cuts`, which are nodes before a natural cut; the `gates` in float; each part
    between cuts in float; everything in float. `accepts` is asked before a placement is
    kept; `tell` hears of each candidate before it is made and timed.
    """
    ends = time.perf_counter() + effort.seconds - effort.final_seconds
    search = _Search(timer, effort, tell)
    misses = 0
    for place, names in enumerate(cuts[:-1][: effort.beginnings], start=1):
        if misses == _PATIENCE or time.perf_counter() > ends:
            break
        gained = search.beats(f"float up to cut {place}", names, accepts)
        misses = 0 if gained else misses + 1
    if not gates <= search.best and time.perf_counter() < ends:
        search.beats("gates in float", search.best | gates, accepts)
    for place, names in enumerate(_parts(cuts, effort.parts), start=1):
        if time.perf_counter() > ends:
            break
        if not names <= search.best:
            search.beats(f"part {place} in float", search.best | names, accepts)
    return search.settled()


class _Search(Generic[Handle]):
    """Candidates, each timed in turn with float and the best so far."""

    def __init__(self, timer: Timer[Handle], effort: Effort, tell: Tell) -> None:
        """Make the two ends: all in float, and all in INT8."""
        self.timer, self.effort, self.tell = timer, effort, tell
        self.tried: list[Candidate] = []
        tell("all in float")
        self.float_call = timer.made(None)
        tell(_WHOLE)
        self.best = frozenset[str]()
        self.best_call = timer.made(self.best)
        self.note(_WHOLE, self.best, self.times(self.float_call, self.best_call))

    def times(self, *calls: Handle) -> Nanoseconds:
        """Samples [calls, rounds] in ns."""
        return self.timer.times(calls, seconds=self.effort.slice_seconds)

    def note(self, name: str, left: frozenset[str], samples: Nanoseconds) -> None:
        """Remember a candidate; `samples` are those of float and of it."""
        self.tried.append(
            Candidate(
                name=name,
                left_float=left,
                latency_ms=undisturbed_ms(samples[-1]),
                ratio=ratio(samples[0], samples[-1]),
            )
        )

    def beats(self, name: str, left: frozenset[str], accepts: Accepts) -> bool:
        """Try a candidate; whether it is faster than the best, which it then is."""
        self.tell(name)
        try:
            call = self.timer.made(left)
        except InputRejectedError:
            self.tried.append(
                Candidate(name=name, left_float=left, latency_ms=None, ratio=None)
            )
            return False
        calls = (self.float_call, self.best_call, call)
        enough = 1 + (_WORTH if self.best else _WORTH_BITS)
        samples = self.times(*calls)
        if ratio(samples[1], samples[2]) >= enough:
            # Of many candidates one is fast by chance; a second run knows.
            samples = self.times(*calls)
        self.note(name, left, samples[[0, 2]])
        if ratio(samples[1], samples[2]) < enough:
            return False
        good = accepts(left)
        self.tried[-1] = replace(self.tried[-1], accepted=good)
        if good:
            self.best, self.best_call = left, call
        return good

    def settled(self) -> Placement:
        """Time the winner against float once more, for longer."""
        self.tell("the fastest once more")
        ends = (self.float_call, self.best_call)
        samples = self.timer.times(ends, seconds=self.effort.final_seconds)
        winner = next(
            each for each in reversed(self.tried) if each.left_float == self.best
        )
        whole = Candidate(
            name="all in float",
            left_float=frozenset[str](),
            latency_ms=undisturbed_ms(samples[0]),
            ratio=1.0,
        )
        found = ratio(samples[0], samples[1])
        chosen = replace(winner, latency_ms=undisturbed_ms(samples[1]), ratio=found)
        others = sorted(
            (each for each in self.tried if each is not winner),
            key=lambda each: -(each.ratio or 0),
        )
        return Placement(
            left_float=self.best,
            float_wins=found <= 1,
            candidates=(chosen, *others, whole),
        )


def _parts(cuts: Sequence[frozenset[str]], most: int) -> list[frozenset[str]]:
    """What lies between cuts, in at most so many parts."""
    if not cuts or not most:
        return []
    step = math.ceil(len(cuts) / most)
    chosen = [frozenset[str](), *cuts[step - 1 :: step]]
    if chosen[-1] != cuts[-1]:
        chosen.append(cuts[-1])
    return [after - before for before, after in pairwise(chosen)]
