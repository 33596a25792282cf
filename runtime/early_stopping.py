"""MLPerf's early stopping criterion: a percentile that few queries can vouch for.

Of n latencies, how many of the highest may be set aside so that, were more than a
tenth of all queries slower than what is left, so few of them would have been seen in
less than 1 % of runs? The highest but those is the estimate: never below the plain
percentile, and close to it where there are many queries.

Source: mlcommons/inference, `loadgen/early_stopping.cc` and `PerformanceSummary::
EarlyStopping` in `loadgen/results.cc` (confidence 0.99, tolerance 0), `mlperf.conf`
(single stream: 90th percentile, at least 600 s); mlcommons/inference_policies,
`inference_rules.adoc`, "Early Stopping Criterion".
"""

import math
from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt

from runtime.typed import Between

PERCENTILE: Final = 0.90
CONFIDENCE: Final = 0.99


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """The 90th percentile by the criterion, of `queries` latencies.

    over: queries that are as slow as `estimate_ns` or slower.
    """

    estimate_ns: Annotated[int, Between(0, 2**62)]
    queries: Annotated[int, Between(0, 2**31)]
    over: Annotated[int, Between(0, 2**31)]


def allowed_over(
    queries: int, *, percentile: float = PERCENTILE, confidence: float = CONFIDENCE
) -> int:
    """How many of `queries` may be slower than a bound that is vouched for.

    The largest t for which at most t slow ones among n come with a probability below
    1 - confidence, if each is slow with 1 - percentile; 0 where n is too small for any.
    LoadGen finds the least h for each t, by the incomplete beta function; that t is
    allowed where n >= h + t is the same statement, and needs the binomial tail only.
    """
    odds = math.log(1 - percentile) - math.log(percentile)
    # Beyond the mean the tail is over a half.
    most = math.ceil(queries * (1 - percentile)) + 1
    counts = np.arange(min(most, queries))
    steps = np.log((queries - counts) / (counts + 1)) + odds
    logs = queries * math.log(percentile) + np.concatenate(([0.0], np.cumsum(steps)))
    tail = np.logaddexp.accumulate(logs)
    return max(0, int(np.searchsorted(tail, math.log(1 - confidence))) - 1)


def early_stopping(samples_ns: npt.NDArray[np.int64]) -> EarlyStopping | None:
    """The estimate for `samples_ns` [n]; None where they are fewer than 64."""
    over = allowed_over(len(samples_ns))
    if over == 0:
        return None
    place = len(samples_ns) - over
    return EarlyStopping(
        estimate_ns=int(np.partition(samples_ns, place)[place]),
        queries=len(samples_ns),
        over=over,
    )
