"""The criterion against its definition, by another road: the incomplete beta function.

`scipy.special.betainc` is what LoadGen's own code computes by a series.
"""

import numpy as np
import pytest

from runtime.early_stopping import allowed_over, early_stopping

scipy_special = pytest.importorskip("scipy.special", reason="pip install scipy")


def fewest_fast(over: int, percentile: float, confidence: float) -> int:
    """LoadGen's search: the least h with I_p(h, over + 1) < 1 - confidence."""
    low, high = 1, 2
    while scipy_special.betainc(high, over + 1, percentile) >= 1 - confidence:
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if scipy_special.betainc(middle, over + 1, percentile) < 1 - confidence:
            high = middle
        else:
            low = middle + 1
    return low


@pytest.mark.parametrize(
    ("percentile", "confidence"), [(0.9, 0.99), (0.99, 0.99), (0.97, 0.95)]
)
def test_the_allowance_changes_exactly_where_loadgen_says(
    percentile: float, confidence: float
) -> None:
    """Slow queries, t of them, are allowed from n = h(t) + t on, and not before."""
    for over in (1, 2, 3, 10, 100, 1000):
        queries = fewest_fast(over, percentile, confidence) + over
        kwargs = {"percentile": percentile, "confidence": confidence}
        assert allowed_over(queries, **kwargs) == over
        assert allowed_over(queries - 1, **kwargs) == over - 1


def test_the_least_number_of_queries_is_the_published_64() -> None:
    """MLPerf's rules: fewer than 64 queries have no 90th percentile estimate."""
    assert early_stopping(np.arange(1, 64)) is None
    found = early_stopping(np.arange(1, 65))
    assert found is not None
    assert (found.queries, found.over, found.estimate_ns) == (64, 1, 64)


def test_a_run_of_ten_minutes_counts_its_slow_queries_exactly() -> None:
    """600,000 queries, against the quantile of the binomial distribution."""
    from scipy.stats import binom

    queries = 600_000
    assert allowed_over(queries) == binom.ppf(0.01, queries, 0.1) - 1


def test_the_estimate_covers_the_true_percentile_in_99_of_100_runs() -> None:
    """2,000 runs of 300 exponential latencies; the true p90 is ln 10."""
    rng = np.random.default_rng(0)
    runs = rng.exponential(1e9, size=(2000, 300)).astype(np.int64)
    found = [early_stopping(run) for run in runs]
    held = np.mean(
        [each is not None and each.estimate_ns >= np.log(10) * 1e9 for each in found]
    )
    assert 0.985 <= held <= 1.0
