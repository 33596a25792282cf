"""Intervals against scipy, and against what they promise."""

import numpy as np
import pytest
from scipy.stats import binomtest

from runtime.intervals import paired_difference, wilson


@pytest.mark.parametrize(("seen", "count"), [(0, 7), (10, 10), (640, 650), (1, 2)])
def test_a_share_has_wilsons_interval(seen: int, count: int) -> None:
    """As scipy computes it."""
    expected = binomtest(seen, count).proportion_ci(method="wilson")

    assert wilson(seen / count, count) == pytest.approx(
        (expected.low, expected.high), abs=1e-9
    )
    assert wilson(0.0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("count", [40, 400])
def test_a_paired_difference_is_covered_as_often_as_promised(count: int) -> None:
    """Drawn 4,000 times from known shares, 95 % of the intervals hold the truth."""
    rng = np.random.default_rng(0)
    only_first, only_second = 0.12, 0.04
    drawn = rng.multinomial(
        count, (only_first, only_second, 1 - only_first - only_second), size=4000
    )
    truth = only_first - only_second

    intervals = [paired_difference(lost, won, count) for lost, won, _ in drawn.tolist()]
    covered = np.mean([low <= truth <= high for low, high in intervals])

    assert covered == pytest.approx(0.95, abs=0.015)
