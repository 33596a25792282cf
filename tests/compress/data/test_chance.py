import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compress.data.keyed_rng import shuffled, uniforms

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mixed(word: int) -> int:
    """SplitMix64's finalizer in plain integers."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)


def test_numbers_are_those_of_splitmix64() -> None:
    """The stream of an index is SplitMix64's; plain integers compute the same."""
    # Vigna's test vector: seed 1234567 starts with 6457827717110365317.
    assert _mixed((1234567 + _GOLDEN) & _MASK) == 6457827717110365317
    name = hashlib.blake2b(b"flip/3/1", digest_size=8).digest()
    key = int.from_bytes(name, "little")
    state = _mixed(_mixed((7 * _GOLDEN + key) & _MASK) ^ key)
    expected = [
        (_mixed((state + step * _GOLDEN) & _MASK) >> 11) / 2**53 for step in (1, 2)
    ]

    assert uniforms("flip", 3, 1, np.array([0, 7]), 2)[1].tolist() == expected


@given(
    seed=st.integers(0, 2**63),
    view=st.integers(-1, 100),
    rows=st.lists(st.integers(0, 10**7), min_size=1, max_size=20),
)
def test_a_row_does_not_depend_on_its_company(
    seed: int, view: int, rows: list[int]
) -> None:
    """Drawn alone or among others, an index gets the same numbers, in [0, 1)."""
    together = uniforms("part", seed, view, np.array(rows), 3)

    alone = [uniforms("part", seed, view, np.array([row]), 3)[0] for row in rows]

    np.testing.assert_array_equal(together, alone)
    assert ((together >= 0) & (together < 1)).all()


def test_draws_look_uniform_and_independent() -> None:
    """Mean, variance and correlation between neighbors as of U(0, 1), 5 sigma."""
    count = 20_000
    drawn = uniforms("shift", 0, 0, np.arange(count), 2)
    sigma = (1 / 12) ** 0.5 / count**0.5

    assert np.abs(drawn.mean(axis=0) - 0.5).max() < 5 * sigma
    assert np.abs(drawn.var(axis=0) - 1 / 12).max() < 0.003
    for other in (
        drawn[:, 1],
        np.roll(drawn[:, 0], 1),
        uniforms("shift", 1, 0, np.arange(count), 1)[:, 0],
        uniforms("shift", 0, 1, np.arange(count), 1)[:, 0],
        uniforms("flip", 0, 0, np.arange(count), 1)[:, 0],
    ):
        assert abs(np.corrcoef(drawn[:, 0], other)[0, 1]) < 5 / count**0.5


@given(count=st.integers(0, 200), epoch=st.integers(0, 50))
def test_an_order_has_everything_once(count: int, epoch: int) -> None:
    """A shuffle is a permutation."""
    order = shuffled("order", 1, epoch, count)

    assert sorted(order.tolist()) == list(range(count))


def test_every_epoch_has_another_order() -> None:
    """The epoch is part of what an order depends on."""
    first, second = (shuffled("order", 0, epoch, 100) for epoch in (0, 1))

    assert not np.array_equal(first, second)
