import gc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from runtime.errors import DeviceError
from runtime.timing import Series, joined, sample, steady_from, timed


class Clock:
    """A clock that moves only when work is done."""

    def __init__(self) -> None:
        self.now_ns = 1_000

    def __call__(self) -> int:
        return self.now_ns

    def work(self, costs_ns: Callable[[int], float]) -> Callable[[], None]:
        """A call whose k-th run takes `costs_ns(k)`."""
        runs = 0

        def call() -> None:
            nonlocal runs
            self.now_ns += int(costs_ns(runs))
            runs += 1

        return call


def noisy(level: np.ndarray, seed: int = 0) -> np.ndarray:
    """A latency series around `level` ms with 2 % noise, in ns."""
    noise = 1 + 0.02 * np.random.default_rng(seed).standard_normal(len(level))
    return (level * noise * 1e6).astype(np.int64)


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_series_has_next_to_no_warm_up(seed: int) -> None:
    """Only a first run that is slow by chance may be dropped."""
    start = steady_from(noisy(np.ones(200), seed))
    assert start is not None
    assert start <= 2


def test_slow_first_runs_are_warm_up() -> None:
    level = np.ones(200)
    level[:3] = 4, 2, 1.5
    assert steady_from(noisy(level)) == 3


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.2, 3.0])
def test_a_step_ends_the_warm_up_where_it_is(factor: float) -> None:
    level = np.ones(220)
    level[:40] = factor
    start = steady_from(noisy(level))
    assert start is not None
    assert abs(start - 40) <= 2


def test_a_decay_is_cut_where_it_drowns_in_the_noise() -> None:
    """exp(-k / 15) falls below two standard deviations of the noise at k = 48."""
    level = 1 + np.exp(-np.arange(220) / 15)
    start = steady_from(noisy(level))
    assert start is not None
    assert 35 <= start <= 75


def test_one_spike_late_in_the_series_is_no_change_of_state() -> None:
    level = np.ones(200)
    level[90] = 100
    assert steady_from(noisy(level)) in (0, 1, 2)


def test_a_series_that_keeps_rising_is_never_steady() -> None:
    assert steady_from(noisy(np.linspace(1, 2, 200))) is None


def test_equal_samples_are_steady_from_the_start() -> None:
    assert steady_from(np.full(50, 7)) == 0


def test_sampling_goes_on_until_enough_steady_runs_are_there() -> None:
    """60 slow runs come first, so 200 runs are not enough to get 200 steady ones."""
    clock = Clock()
    rng = np.random.default_rng(0)
    call = clock.work(lambda k: (5e6 if k < 60 else 1e6) * (1 + 0.01 * rng.random()))

    series = sample([call], runs=200, seconds=None, rng=rng, clock=clock)

    assert series.steady
    assert abs(series.start - 60) <= 2
    assert series.samples_ns.shape[1] - series.start >= 200
    assert series.samples_ns[0, :60].min() >= 5e6  # every raw sample is kept


def test_a_series_without_a_steady_state_is_given_up_and_says_so() -> None:
    clock = Clock()
    call = clock.work(lambda k: 1e6 + 1e4 * k)

    series = sample(
        [call], runs=50, seconds=None, rng=np.random.default_rng(0), clock=clock
    )

    assert not series.steady
    assert series.samples_ns.shape[1] == 200
    assert series.start == 150


def test_a_time_budget_ends_the_sampling() -> None:
    """1 ms a run and a budget of half a second make 500 runs."""
    clock = Clock()
    series = sample(
        [clock.work(lambda _: 1e6)],
        runs=10,
        seconds=0.5,
        rng=np.random.default_rng(0),
        clock=clock,
    )
    assert 500 <= series.samples_ns.shape[1] <= 560


def test_a_time_budget_too_short_for_ten_runs_is_refused() -> None:
    clock = Clock()
    with pytest.raises(DeviceError, match="at least 10 are needed"):
        sample(
            [clock.work(lambda _: 1e9)],
            runs=200,
            seconds=2.0,
            rng=np.random.default_rng(0),
            clock=clock,
        )


def test_a_clock_that_stands_still_is_refused() -> None:
    with pytest.raises(DeviceError, match="did not advance"):
        sample(
            [lambda: None],
            runs=20,
            seconds=None,
            rng=np.random.default_rng(0),
            clock=lambda: 5,
        )


def test_calls_are_timed_in_the_order_asked_for_without_the_collector() -> None:
    clock = Clock()
    seen: list[tuple[str, bool]] = []

    def call(name: str, cost_ns: int) -> Callable[[], None]:
        def run() -> None:
            seen.append((name, gc.isenabled()))
            clock.now_ns += cost_ns

        return run

    samples = np.zeros((2, 3), np.int64)
    order = np.array([[0, 1], [1, 0], [1, 0]])
    timed([call("a", 10), call("b", 25)], order, samples, clock=clock)

    assert [name for name, _ in seen] == ["a", "b", "b", "a", "b", "a"]
    assert not any(enabled for _, enabled in seen)
    assert gc.isenabled()
    assert samples.tolist() == [[10, 10, 10], [25, 25, 25]]


def test_joined_series_have_their_warm_up_first() -> None:
    """Of each part what was warm-up there, in order; steady if all are."""
    first = Series(np.array([[9, 1, 2]]), 1, steady=True)
    second = Series(np.array([[8, 7, 3, 4]]), 2, steady=True)
    found = joined([first, second])
    assert found.samples_ns.tolist() == [[9, 8, 7, 1, 2, 3, 4]]
    assert (found.start, found.steady) == (3, True)
    assert not joined([first, replace(second, steady=False)]).steady
