"""Basic-block profile of one inference, split among the operators that ran.

LiteRT's profiler reads the clock when an operator begins or ends, and the plugin ends a
lap whenever the clock is read: so each lap is one operator's, or the interpreter's own.
XNNPACK reads it once before its first operator and once after each; LiteRT's own
kernels are between two readings, of which the profiler tells the first.
"""

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

Block = tuple[str, ...]  # its instructions, words in hexadecimal
Runs = Mapping[Block, int]

# tflite::Profiler::EventType: an operator of the interpreter's, one of a delegate's.
_OWN: Final = 2
_DELEGATED: Final = 8
# XNNPACK's concatenation copies each of its inputs by itself and is one event.
_COPIES: Final = "Copy"


@dataclass(frozen=True)
class Event:
    """What the profiler saw; number: of a delegate's operator, from 0 in each part."""

    name: str
    kind: int
    start_us: int
    number: int


@dataclass(frozen=True, kw_only=True)
class Operator:
    """An operator as the runtime calls it, and how often each block ran for it."""

    name: str
    runs: Runs


@dataclass
class _Lap:
    """Blocks that ran until the clock was read at `stamp_ns`; `usage`: and memory."""

    stamp_ns: int
    runs: dict[int, int]
    usage: bool = False


@dataclass
class Trace:
    """What the plugin wrote: a profiled inference, perhaps one that was not."""

    sections: list[list[_Lap]] = field(default_factory=list)
    blocks: dict[int, Block] = field(default_factory=dict)

    @classmethod
    def of(cls, lines: Iterable[str]) -> "Trace":
        """Read lines as blocks.c describes them; ValueError if they are not so."""
        trace = cls()
        for line in lines:
            kind, *words = line.split()
            if kind == "section":
                trace.sections.append([])
            elif kind == "lap":
                trace.sections[-1].append(_Lap(int(words[0]), _counts(words[1:])))
            elif kind == "end":
                trace.sections[-1].append(_Lap(0, _counts(words), usage=True))
            elif kind == "usage":
                trace.sections[-1][-1].usage = True
            elif kind == "block":
                trace.blocks[int(words[0])] = tuple(words[1:])
            else:
                raise ValueError(f"unknown line {kind!r}")
        if len(trace.sections) not in {1, 2} or not all(trace.sections):
            raise ValueError(f"{len(trace.sections)} inferences instead of 1 or 2")
        return trace

    def whole(self) -> Runs | None:
        """How often each block ran in the inference that was not profiled."""
        if len(self.sections) == 1:
            return None
        return self._operator("", self.sections[1]).runs

    def operators(self, events: Sequence[Event]) -> tuple[Operator, ...]:
        """What ran for each operator, in order; none if laps and events do not fit."""
        laps = [lap for lap in self.sections[0] if not lap.usage]
        stamps = [lap.stamp_ns for lap in laps]
        found: list[Operator] = []
        start, waiting = 0, list[Event]()
        for event in events:
            if event.kind == _DELEGATED:
                waiting.append(event)
            elif event.kind == _OWN:
                # The profiler cuts its reading down to microseconds.
                begin = bisect.bisect_left(stamps, (event.start_us + 1) * 1000) - 1
                if begin < start or begin + 1 >= len(laps):
                    return ()
                found += self._delegated(laps[start:begin], waiting)
                start, waiting = begin + 2, []
                found.append(self._operator(event.name, laps[begin + 1 : start]))
        found += self._delegated(laps[start:], waiting)
        known = sum(1 for event in events if event.kind in (_OWN, _DELEGATED))
        return tuple(found) if len(found) == known else ()

    def _delegated(
        self, laps: Sequence[_Lap], events: Sequence[Event]
    ) -> Iterator[Operator]:
        """Laps of a delegate's parts: one before the first operator, one after each."""
        parts = sum(1 for event in events if event.number == 0)
        spare = len(laps) - parts - len(events)
        at = 0
        for event in events:
            at += event.number == 0
            until = at + 1
            while (
                spare > 0
                and event.name.startswith(_COPIES)
                and until < len(laps)
                and self._hottest(laps[until]) == self._hottest(laps[at])
            ):
                until, spare = until + 1, spare - 1
            if until > len(laps):
                return
            yield self._operator(event.name, laps[at:until])
            at = until

    def _operator(self, name: str, laps: Iterable[_Lap]) -> Operator:
        """What ran in some laps together."""
        total: Counter[Block] = Counter()
        for lap in laps:
            total.update(self._named(lap.runs))
        return Operator(name=name, runs=total)

    def _named(self, runs: Mapping[int, int]) -> Counter[Block]:
        """Runs by instructions: QEMU may have translated the same ones twice."""
        total: Counter[Block] = Counter()
        for number, times in runs.items():
            total[self.blocks[number]] += times
        return total

    def _hottest(self, lap: _Lap) -> Block:
        """The block that most instructions of a lap were in."""
        runs = self._named(lap.runs)
        return max(runs, key=lambda block: runs[block] * len(block))


def together(operators: Iterable[Operator]) -> Runs:
    """How often each block ran for all of them."""
    total: Counter[Block] = Counter()
    for each in operators:
        total.update(each.runs)
    return total


def instructions(runs: Runs) -> int:
    """How many instructions that is."""
    return sum(len(block) * times for block, times in runs.items())


def _counts(words: Sequence[str]) -> dict[int, int]:
    """`BLOCK:RUNS …` as numbers."""
    pairs = (word.partition(":") for word in words)
    return {int(block): int(times) for block, _, times in pairs}
