import numpy as np
import pytest
from scipy import stats

from runtime.bootstrap import Estimate, estimate, percentile


@pytest.mark.parametrize("q", [50.0, 90.0, 99.0])
def test_a_percentile_is_numpys(q: float) -> None:
    samples = np.random.default_rng(1).lognormal(size=333)
    found = percentile(samples, q, np.random.default_rng(0))
    assert found.value == np.percentile(samples, q)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("q", [50.0, 90.0])
def test_the_interval_holds_the_truth_in_about_95_of_100_cases(q: float) -> None:
    """Exponential samples, whose percentiles are known; 200 series of 200."""
    rng = np.random.default_rng(7)
    truth = stats.expon.ppf(q / 100)
    hits = 0
    for _ in range(200):
        found = percentile(rng.exponential(size=200), q, rng)
        hits += found.low <= truth <= found.high
    # Three standard errors of 200 trials at 0.95 are 0.046; p90 is a bit low.
    assert 0.89 <= hits / 200 <= 1.0


def test_blocks_widen_the_interval_of_samples_that_resemble_their_neighbors() -> None:
    """Samples that come in runs of five hold a fifth of the information."""
    rng = np.random.default_rng(3)
    repeated = np.repeat(rng.standard_normal(100), 5)
    in_order = percentile(repeated, 50, np.random.default_rng(0))
    shuffled = percentile(rng.permutation(repeated), 50, np.random.default_rng(0))
    assert in_order.high - in_order.low > 1.5 * (shuffled.high - shuffled.low)


def test_the_same_generator_gives_the_same_interval() -> None:
    samples = np.random.default_rng(1).random(100)
    first = percentile(samples, 50, np.random.default_rng(5))
    assert percentile(samples, 50, np.random.default_rng(5)) == first


def test_many_samples_are_resampled_in_portions_with_the_same_result() -> None:
    """The mean of n normal numbers has a standard error of 1 / sqrt(n)."""
    samples = np.random.default_rng(1).standard_normal(20_000)
    found = estimate(samples, lambda x: x.mean(axis=-1), np.random.default_rng(0))
    half = (found.high - found.low) / 2
    assert half == pytest.approx(1.96 / np.sqrt(20_000), rel=0.15)


def test_an_estimate_changes_its_unit() -> None:
    assert Estimate(2.0, 1.0, 4.0).scaled(0.5) == Estimate(1.0, 0.5, 2.0)
