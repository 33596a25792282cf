"""Alignment of two sequences, against every way to pair short ones."""

from itertools import combinations

import numpy as np
import pytest

from compress.evaluation.alignment import aligned


def same(one: str, other: str) -> bool:
    """Letters, whatever their case."""
    return one.lower() == other.lower()


def exactly(one: str, other: str) -> bool:
    """Letters and case."""
    return one == other


def by_hand(first: str, second: str) -> tuple[int, int]:
    """The most exact pairs, then the most pairs, of all ways to pair in order."""
    best = (0, 0)
    for count in range(min(len(first), len(second)) + 1):
        for rows in combinations(range(len(first)), count):
            for columns in combinations(range(len(second)), count):
                pairs = [
                    (first[row], second[column])
                    for row, column in zip(rows, columns, strict=True)
                ]
                if all(same(*pair) for pair in pairs):
                    best = max(best, (sum(exactly(*pair) for pair in pairs), count))
    return best


@pytest.mark.parametrize("seed", range(20))
def test_as_many_likely_pairs_as_possible_then_as_many_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = ("".join(rng.choice(list("abAB"), 6)) for _ in range(2))

    pairs = aligned(first, second, able=same, likely=exactly)

    assert all(same(first[row], second[column]) for row, column in pairs)
    assert sorted(set(pairs)) == pairs
    assert len({row for row, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
    likely = sum(first[row] == second[column] for row, column in pairs)
    assert (likely, len(pairs)) == by_hand(first, second)


def test_what_only_one_tells_is_passed_over() -> None:
    assert aligned("abc", "xaybzc", able=same, likely=exactly) == [
        (0, 1),
        (1, 3),
        (2, 5),
    ]
