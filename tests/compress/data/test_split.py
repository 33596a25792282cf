import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compress.data.split import held_out, stratified

_COUNTS = st.lists(st.integers(2, 40), min_size=2, max_size=8)


@given(counts=_COUNTS, fraction=st.floats(0.01, 0.99))
def test_what_is_held_out_is_disjoint_and_has_every_class(
    counts: list[int], fraction: float
) -> None:
    """Both parts have every class, and together every image once."""
    labels = np.repeat(np.arange(len(counts)), counts)

    train, val = held_out(labels, fraction)

    assert sorted([*train, *val]) == list(range(len(labels)))
    assert set(labels[train]) == set(labels[val]) == set(range(len(counts)))
    for kind, count in enumerate(counts):
        share = (labels[val] == kind).sum()
        assert abs(share - np.clip(fraction * count, 1, count - 1)) <= 1 + len(counts)


@given(counts=_COUNTS, data=st.data())
def test_a_subset_keeps_every_class_near_its_share(
    counts: list[int], data: st.DataObject
) -> None:
    """The size is exact; every class has at least one image."""
    labels = np.repeat(np.arange(len(counts)), counts)
    size = data.draw(st.integers(len(counts), len(labels)))

    rows = stratified(labels, size, seed=3, purpose="subset")

    assert len(rows) == len(set(rows.tolist())) == size
    assert set(labels[rows]) == set(range(len(counts)))


def test_equal_classes_get_equal_shares_and_the_seed_chooses_which() -> None:
    """100 of 10 x 50: exactly 10 of each; another seed takes others."""
    labels = np.tile(np.arange(10), 50)
    first = stratified(labels, 100, seed=0, purpose="subset")
    second = stratified(labels, 100, seed=1, purpose="subset")

    assert np.bincount(labels[first]).tolist() == [10] * 10
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(
        first, stratified(labels, 100, seed=0, purpose="subset")
    )
