import pytest

from runtime.budget import Budget, Spent
from runtime.errors import RecipeError
from runtime.target import target


def test_no_limits_are_never_violated() -> None:
    assert Budget().violations(Spent()) == ()
    assert Budget().limits() == {}


def test_what_stays_within_its_limits_is_fit() -> None:
    budget = Budget(top1_drop=0.01, top1_min=0.9, size_bytes=100, latency_ms=2.0)
    spent = Spent(top1=0.95, top1_start=0.955, size_bytes=100, latency_ms=2.0)
    assert budget.violations(spent) == ()


@pytest.mark.parametrize(
    ("budget", "spent", "sentence"),
    [
        (
            Budget(top1_drop=0.01),
            Spent(top1=0.90, top1_start=0.95),
            "the drop in top-1 accuracy is 5.00 points; allowed: at most 1.00 points",
        ),
        (
            Budget(top1_min=0.9),
            Spent(top1=0.85),
            "top-1 accuracy is 85.00 %; allowed: at least 90.00 %",
        ),
        (
            Budget(size_bytes=1000),
            Spent(size_bytes=2345),
            "the file's size is 2,345 bytes; allowed: at most 1,000 bytes",
        ),
        (
            Budget(latency_ms=1.5),
            Spent(latency_ms=2.0),
            "latency (p50) is 2.000 ms; allowed: at most 1.500 ms",
        ),
        (
            Budget(latency_ms=1.5),
            Spent(),
            "latency (p50) was not measured; allowed: at most 1.500 ms",
        ),
    ],
)
def test_a_missed_limit_is_a_sentence(
    budget: Budget, spent: Spent, sentence: str
) -> None:
    assert budget.violations(spent) == (sentence,)


def test_a_limit_that_means_nothing_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"budget\.top1_min: 95"):
        Budget(top1_min=95)
    with pytest.raises(RecipeError, match=r"budget\.latency_ms: 0"):
        Budget(latency_ms=0)


def test_the_local_target_is_known_and_others_are_named() -> None:
    assert target("local").runtime == "onnxruntime"
    with pytest.raises(RecipeError, match=r"unknown target 'moon'; known: .*local"):
        target("moon")
