"""Runs of minutes, by a clock that only moves when a session runs."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from runtime.errors import RecipeError
from runtime.long_run import long_run
from runtime.plan import CERTIFIED_S, Plan
from runtime.timeline import Window, course, plot


class Board:
    """An inference and its clock: 5 ms, or what `cost_ms` says of the time so far."""

    def __init__(self, cost_ms: object = None) -> None:
        self.now_ns = 0
        self._cost_ms = cost_ms
        self._rng = np.random.default_rng(0)

    def clock(self) -> int:
        return self.now_ns

    def __call__(self) -> None:
        ms = self._cost_ms(self.now_ns / 1e9) if self._cost_ms else 5.0  # type: ignore[operator]
        self.now_ns += int(ms * 1e6 * (1 + 0.05 * self._rng.random()))


def test_a_certified_run_takes_ten_minutes_and_counts_every_query(
    tmp_path: Path,
) -> None:
    """The estimate is the sample that the binomial quantile points to."""
    board = Board()
    samples, run = long_run(
        board, mode="certified", seconds=CERTIFIED_S, clock=board.clock, root=tmp_path
    )
    assert 600 <= run.seconds < 600.1
    assert len(run.windows) == 60
    stop = run.early_stopping
    assert stop is not None
    assert stop.queries == sum(each.runs for each in run.windows)
    assert stop.over == binom.ppf(0.01, stop.queries, 0.1) - 1
    assert run.kept_every == 6
    assert len(samples) == -(-stop.queries // 6) <= 20_000
    # Costs are uniform from 5 to 5.25 ms.
    assert stop.estimate_ns == pytest.approx(5.225e6, rel=1e-3)
    assert course(run.windows).verdict == "steady"


def heats(seconds: float) -> float:
    """5 ms, from the fourth minute on 6.5 ms."""
    return 5.0 if seconds < 240 else 6.5


def test_a_board_that_heats_up_is_seen_to_slow_down(tmp_path: Path) -> None:
    board = Board(heats)
    _, run = long_run(
        board, mode="sustained", seconds=600, clock=board.clock, root=tmp_path
    )
    seen = course(run.windows)
    assert seen.verdict == "drifted"  # this machine tells no clock
    assert seen.change == pytest.approx(0.3, abs=0.01)
    assert seen.since_s == pytest.approx(240, abs=11)
    assert "rose by 30% from 4.0 min on" in seen.as_text()
    lines = plot(run.windows)
    assert lines[0].count("*") == pytest.approx(36, abs=1)
    assert max(map(len, lines)) <= 80


def windows(
    latencies: list[float], clocks: list[float] | None = None
) -> tuple[Window, ...]:
    """A window a second."""
    return tuple(
        Window(
            end_s=index + 1.0,
            runs=10,
            p50_ms=ms,
            p90_ms=ms,
            clock_mhz=clocks[index] if clocks else None,
        )
        for index, ms in enumerate(latencies)
    )


def test_what_the_clock_did_makes_drift_throttling() -> None:
    slower = [5.0] * 20 + [6.0] * 20
    fell = course(windows(slower, [1800.0] * 20 + [1500.0] * 20))
    assert fell.verdict == "throttled"
    assert "throttles (clock -17%)" in fell.as_text()
    held = course(windows(slower, [1800.0] * 40))
    assert held.verdict == "drifted"
    assert "clock changed by +0%" in held.as_text()


def test_up_and_down_is_not_steady() -> None:
    """A governor that hunts ends where it began."""
    assert course(windows([5.0] * 10 + [6.0] * 20 + [5.0] * 10)).verdict == "unsteady"
    assert course(windows([5.0] * 38 + [9.0] + [5.0])).verdict == "steady"


def test_a_run_of_one_window_is_judged_and_drawn() -> None:
    assert course(windows([5.0])).verdict == "steady"
    assert any("*" in line for line in plot(windows([5.0])))


def test_too_few_queries_have_no_estimate(tmp_path: Path) -> None:
    board = Board(lambda _: 11_000.0)
    _, run = long_run(
        board, mode="certified", seconds=600, clock=board.clock, root=tmp_path
    )
    assert run.early_stopping is None


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Plan(mode="certified", seconds=60), "600 or more"),
        (Plan(mode="certified", compare=True), "each by itself"),
        (Plan(mode="certified", sustained_min=5), "one of them"),
        (Plan(sustained_min=5, seconds=5), "one of them"),
        (Plan(sustained_min=0), "allowed: up to 1440"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(plan: Plan, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        plan.check_long()


def test_a_plan_says_how_long_it_takes() -> None:
    assert Plan(sustained_min=2).long_seconds == 120
    assert Plan(mode="certified").long_seconds == 600
    assert Plan(mode="certified", seconds=900).long_seconds == 900
    assert not Plan(seconds=900).long
