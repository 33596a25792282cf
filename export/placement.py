"""Where INT8 pays, measured: parts of a network in float wherever that is faster."""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from export.lower import lowered
from export.lowering.regions import branches, cuts, floated
from runtime.machine import Machine, this_machine
from runtime.session import open_session
from runtime.target import Target, int8_target
from runtime.timing import Nanoseconds, in_turn, undisturbed_ms

Accepts = Callable[[frozenset[str]], bool]

# Of two placements this close, the one with more INT8 is kept: timings vary as much.
_WORTH: Final = 0.015
# Longer beginnings are given up after this many that were no gain.
_PATIENCE: Final = 4
# Parts of the network that are tried one by one, at most.
_PARTS: Final = 16
_SLICE_SECONDS: Final = 1.5
_FINAL_SECONDS: Final = 6.0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A placement that was tried; ratio: float's latency over its own, in one run.

    Latencies are 10th percentiles, which other programs on the machine leave alone.
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


def placed(  # noqa: PLR0913  # two graphs, and how to choose between them
    qdq: onnx.ModelProto,
    float_model: onnx.ModelProto,
    *,
    target: Target,
    rng: np.random.Generator,
    seconds: float = 60.0,
    accepts: Accepts = lambda _: True,
    machine: Machine | None = None,
) -> Placement:
    """Find the placement that is fastest on this machine, scales unchanged.

    `qdq` is what `qdq_model` gives, not lowered yet; `float_model` computes the same in
    float. Tried are: everything in INT8; the network's beginning in float up to each of
    the first natural cuts; the gates' branches in float; each part between cuts in
    float; everything in float. `accepts` is asked before a placement is kept.
    """
    if target != int8_target(machine or this_machine()):
        whole = Candidate(
            name="all in INT8", left_float=frozenset(), latency_ms=None, ratio=None
        )
        return Placement(
            left_float=frozenset(),
            float_wins=False,
            candidates=(whole,),
            measured=False,
        )
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        race = _Race(qdq, float_model, target, folder, rng, opened)
        return _searched(race, qdq, seconds=seconds, accepts=accepts)


class _Race:
    """Candidates as sessions, each timed in turn with the best so far."""

    def __init__(  # noqa: PLR0913, PLR0917  # made in one place
        self,
        qdq: onnx.ModelProto,
        float_model: onnx.ModelProto,
        target: Target,
        folder: Path,
        rng: np.random.Generator,
        opened: ExitStack,
    ) -> None:
        """Open the two ends: all in float, and all in INT8."""
        self.qdq, self.target, self.folder, self.rng = qdq, target, folder, rng
        self.opened = opened
        self.tried: list[Candidate] = []
        self.count = 0
        self.float_call = self.call(float_model)
        self.best = frozenset[str]()
        self.best_call = self.call(lowered(qdq, target))
        self.note(
            "all in INT8", self.best, self.times([self.float_call, self.best_call])
        )

    def call(self, model: onnx.ModelProto) -> Callable[[], object]:
        """One inference of a model by its runtime, warmed up."""
        self.count += 1
        path = self.folder / f"{self.count}.onnx"
        onnx.save(model, path)
        session = open_session(path, threads=self.target.threads)
        self.opened.enter_context(closing(session))
        path.unlink()
        shape = session.input_shape
        bound = session.bind(self.rng.standard_normal(shape, dtype=np.float32))
        for _ in range(3):
            bound()
        return bound

    def times(
        self, calls: Sequence[Callable[[], object]], seconds: float = _SLICE_SECONDS
    ) -> Nanoseconds:
        """Samples [calls, rounds] in ns, taken in turn, in random order."""
        return in_turn(calls, seconds=seconds, rng=self.rng)

    def note(self, name: str, left: frozenset[str], samples: Nanoseconds) -> None:
        """Remember a candidate; `samples` are those of float and of it."""
        self.tried.append(
            Candidate(
                name=name,
                left_float=left,
                latency_ms=undisturbed_ms(samples[-1]),
                ratio=_ratio(samples[0], samples[-1]),
            )
        )

    def beats(self, name: str, left: frozenset[str], accepts: Accepts) -> bool:
        """Try a candidate; whether it is faster than the best, which it then is."""
        model = lowered(floated(self.qdq, left), self.target)
        call = self.call(model)
        calls = [self.float_call, self.best_call, call]
        samples = self.times(calls)
        self.note(name, left, samples[[0, 2]])
        if _ratio(samples[1], samples[2]) < 1 + _WORTH:
            return False
        # Of many candidates one is fast by chance; a second run knows.
        again = self.times(calls)
        self.tried.pop()
        self.note(name, left, again[[0, 2]])
        if _ratio(again[1], again[2]) < 1 + _WORTH:
            return False
        found = self.tried[-1]
        good = accepts(left)
        self.tried[-1] = Candidate(
            name=found.name,
            left_float=left,
            latency_ms=found.latency_ms,
            ratio=found.ratio,
            accepted=good,
        )
        if good:
            self.best, self.best_call = left, call
        return good


def _searched(
    race: _Race, qdq: onnx.ModelProto, *, seconds: float, accepts: Accepts
) -> Placement:
    """Try candidates from the likeliest on, as long as there is time."""
    ends = time.perf_counter() + seconds - _FINAL_SECONDS
    beginnings = cuts(qdq)
    misses = 0
    for place, names in enumerate(beginnings[:-1], start=1):
        if misses == _PATIENCE or time.perf_counter() > ends:
            break
        gained = race.beats(f"float up to cut {place}", names, accepts)
        misses = 0 if gained else misses + 1
    gates = branches(qdq)
    if gates and time.perf_counter() < ends:
        race.beats("gates in float", race.best | gates, accepts)
    for place, names in enumerate(_parts(beginnings), start=1):
        if time.perf_counter() > ends:
            break
        if not names <= race.best:
            race.beats(f"part {place} in float", race.best | names, accepts)
    return _settled(race)


def _parts(beginnings: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    """What lies between cuts, in at most `_PARTS` parts."""
    step = max(1, math.ceil(len(beginnings) / _PARTS))
    chosen = [frozenset[str](), *beginnings[step - 1 :: step]]
    if beginnings and chosen[-1] != beginnings[-1]:
        chosen.append(beginnings[-1])
    return [after - before for before, after in pairwise(chosen)]


def _settled(race: _Race) -> Placement:
    """Time the winner against float once more, for longer."""
    samples = race.times([race.float_call, race.best_call], _FINAL_SECONDS)
    ratio = _ratio(samples[0], samples[1])
    winner = next(each for each in reversed(race.tried) if each.left_float == race.best)
    whole = Candidate(
        name="all in float",
        left_float=frozenset[str](),
        latency_ms=undisturbed_ms(samples[0]),
        ratio=1.0,
    )
    chosen = Candidate(
        name=winner.name,
        left_float=race.best,
        latency_ms=undisturbed_ms(samples[1]),
        ratio=ratio,
        accepted=winner.accepted,
    )
    others = sorted(
        (each for each in race.tried if each is not winner),
        key=lambda each: -(each.ratio or 0),
    )
    return Placement(
        left_float=race.best,
        float_wins=ratio <= 1,
        candidates=(chosen, *others, whole),
    )


def _ratio(first: Nanoseconds, second: Nanoseconds) -> float:
    """How many times as long the first takes, in their undisturbed rounds."""
    return undisturbed_ms(first) / undisturbed_ms(second)
