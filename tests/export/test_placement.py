"""The search for a placement, on files whose latencies are made up, not of any format.

Oracle: a file takes so many milliseconds for each part, by whether it is in float.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest

from export.placement import Effort, Placement, placed, untimed
from runtime.errors import InputRejectedError
from runtime.session import Session
from runtime.timing import Call, Nanoseconds, timed

QUICK = Effort(slice_seconds=0, final_seconds=0)
# A network of three pieces, with a gate in the second.
CUTS = tuple(frozenset("abcd"[:count]) for count in (1, 3, 4))
GATE = frozenset("c")


class Clock:
    """Time that passes only where a made-up file works."""

    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


CLOCK = Clock()


@pytest.fixture(autouse=True)
def _timed_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other programs do to this machine's clock would be luck."""

    def in_turn(
        calls: Sequence[Call], *, seconds: float, rng: np.random.Generator
    ) -> Nanoseconds:
        assert seconds == 0
        order = rng.permuted(np.tile(np.arange(len(calls)), (24, 1)), axis=1)
        samples = np.zeros((len(calls), 24), np.int64)
        timed(calls, order, samples, clock=CLOCK)
        return samples

    monkeypatch.setattr("export.placement.in_turn", in_turn)


@dataclass(frozen=True)
class Sleeper:
    """A session that takes its time."""

    latency_ms: float
    closed: list[float]
    input_shape: tuple[int, ...] = (1, 3, 4, 4)

    def bind(self, batch: np.ndarray) -> Callable[[], object]:
        """Let that much of the made-up time pass."""
        assert batch.shape == self.input_shape

        def work() -> None:
            CLOCK.now_ns += round(self.latency_ms * 1e6)

        return work

    def close(self) -> None:
        """Note it."""
        self.closed.append(self.latency_ms)


def searched(
    saved_ms: Mapping[str, float],
    *,
    float_ms: float,
    effort: Effort = QUICK,
    impossible: frozenset[str] = frozenset(),
    accepts: Callable[[frozenset[str]], bool] = lambda _: True,
) -> tuple[Placement, list[frozenset[str] | None], list[float]]:
    """A search where INT8 takes 3 ms, less what each node in float saves."""
    opened: list[frozenset[str] | None] = []
    closed: list[float] = []

    def open_(left: frozenset[str] | None) -> Session:
        opened.append(left)
        if left is not None and left & impossible:
            raise InputRejectedError("no such file")
        int8_ms = 3 - sum(saved_ms.get(node, 0) for node in left or ())
        latency_ms = float_ms if left is None else int8_ms
        return cast("Session", Sleeper(latency_ms, closed))

    found = placed(
        open_,
        cuts=CUTS,
        gates=GATE,
        rng=np.random.default_rng(0),
        effort=effort,
        accepts=accepts,
    )
    return found, opened, closed


def test_the_part_that_is_faster_in_float_is_found() -> None:
    found, opened, closed = searched({"c": 1.2, "a": -1, "b": -1}, float_ms=4)

    assert found.left_float == GATE
    assert found.candidates[0].name == "gates in float"
    assert found.candidates[0].ratio == pytest.approx(4 / 1.8)
    assert not found.float_wins
    assert len(closed) == len(opened)


def test_a_few_percent_are_not_worth_the_bits_but_more_percent_then_are() -> None:
    """INT8 throughout equals the network; once that is given up, every bit counts."""
    little, _, _ = searched({"a": 0.12}, float_ms=4)
    more, _, _ = searched({"a": 0.8, "d": 0.15}, float_ms=4)

    assert little.left_float == frozenset()
    assert more.left_float == frozenset("ad")


def test_where_float_is_faster_float_is_the_answer() -> None:
    found, _, _ = searched({}, float_ms=1)

    assert found.float_wins
    assert found.as_text().startswith("float32 is faster: all in INT8 takes")


def test_what_is_not_accepted_is_not_chosen() -> None:
    """The accuracy floor is the caller's."""
    found, _, _ = searched({"c": 1.2}, float_ms=4, accepts=lambda _: False)

    assert found.left_float == frozenset()
    (gates,) = [each for each in found.candidates if each.left_float == GATE]
    assert gates.accepted is False


def test_what_a_format_cannot_express_is_passed_over() -> None:
    """A converter may refuse a placement; the search goes on, the record says so."""
    found, _, closed = searched(
        {"c": 1.2, "d": 0.8}, float_ms=4, impossible=frozenset("c")
    )

    assert found.left_float == frozenset("d")
    (gates,) = [each for each in found.candidates if each.left_float == GATE]
    assert gates.latency_ms is None
    assert gates.as_record()["ratio"] is None
    assert len(closed) > 2


def test_an_effort_bounds_what_is_tried() -> None:
    """Where files are slow to write: one beginning, the gates, no parts."""
    few = Effort(slice_seconds=0, final_seconds=0, beginnings=1, parts=0)
    _, opened, _ = searched({}, float_ms=4, effort=few)

    assert opened == [None, frozenset(), frozenset("a"), GATE]


def test_each_candidate_is_told_of_before_it_is_made() -> None:
    """Each may take half a minute to write, and nothing is said while it is timed."""
    events: list[str] = []

    def open_(left: frozenset[str] | None) -> Session:
        events.append("float" if left is None else "".join(sorted(left)))
        return cast("Session", Sleeper(1.0, []))

    placed(
        open_,
        cuts=CUTS,
        gates=GATE,
        rng=np.random.default_rng(0),
        effort=Effort(slice_seconds=0, final_seconds=0, beginnings=1, parts=0),
        tell=events.append,
    )

    ends = ["all in float", "float", "all in INT8", ""]
    tried = ["float up to cut 1", "a", "gates in float", "c"]
    assert events == [*ends, *tried, "the fastest once more"]


def test_without_time_only_the_two_ends_are_timed() -> None:
    none = Effort(seconds=0, slice_seconds=0, final_seconds=0)
    found, opened, _ = searched({"c": 1.2}, float_ms=4, effort=none)

    assert opened == [None, frozenset()]
    assert [each.name for each in found.candidates] == ["all in INT8", "all in float"]


def test_for_another_machine_nothing_is_timed() -> None:
    """A placement measured here says nothing about an Arm board."""
    found = untimed()

    assert found.as_record()["measured"] is False
    assert found.left_float == frozenset()
    assert "not the target" in found.as_text()
