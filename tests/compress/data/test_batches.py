import itertools
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.data.augment import Augment
from compress.data.batches import batch_count, batches, evaluation_batches
from compress.data.data import Batch, Images

ORDINARY = {
    "batch_size": 8,
    "seed": 3,
    "epoch": 2,
    "view": 1,
    "augment": Augment(crop="pad", randaugment=5),
    "shuffle": True,
    "drop_last": False,
    "workers": 0,
}


def _images(count: int = 50, *, store: int = 12, size: int = 8) -> Images:
    rng = np.random.default_rng(0)
    return Images(
        pixels=rng.integers(0, 256, (count, store, store, 3), np.uint8),
        labels=rng.integers(0, 5, count),
        size=size,
        digest="noise",
    )


def _same(one: list[Batch], other: list[Batch]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.view == b.view
        for part in ("index", "pixels", "labels"):
            assert torch.equal(getattr(a, part), getattr(b, part)), part


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_number_of_workers_changes_nothing(workers: int) -> None:
    """Order, pixels, labels: all as without workers."""
    images = _images()
    alone = list(batches(images, **ORDINARY))

    _same(list(batches(images, **{**ORDINARY, "workers": workers})), alone)


@given(count=st.integers(1, 40), size=st.integers(1, 16), world=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_ranks_interleave_to_the_batch_of_one(
    count: int, size: int, world: int
) -> None:
    """Row i of a global batch is row i // w of rank i % w."""
    images = _images(count)
    asked = {**ORDINARY, "batch_size": size, "augment": Augment()}
    ranks = [
        list(batches(images, **asked, rank=rank, world=world)) for rank in range(world)
    ]
    for step, whole in enumerate(batches(images, **asked)):
        for rank, given_out in enumerate(ranks):
            share = given_out[step]
            assert torch.equal(share.index, whole.index[rank::world])
            assert torch.equal(share.pixels, whole.pixels[rank::world])
            assert torch.equal(share.labels, whole.labels[rank::world])


@given(
    count=st.integers(1, 40),
    size=st.integers(1, 50),
    drop_last=st.booleans(),
    start=st.integers(0, 12),
)
@settings(max_examples=40, deadline=None)
def test_an_epoch_has_every_image_once(
    count: int, size: int, *, drop_last: bool, start: int
) -> None:
    """Less an incomplete last batch where that was asked; `start` skips a prefix."""
    images = _images(count)
    asked = {**ORDINARY, "batch_size": size, "drop_last": drop_last, "augment": None}
    whole = list(batches(images, **asked))

    _same(list(batches(images, **asked, start=start)), whole[start:])
    seen = torch.cat([batch.index for batch in whole]).tolist()
    assert len(whole) == batch_count(count, batch_size=size, drop_last=drop_last)
    assert len(seen) == len(set(seen))
    expected = count - count % size if drop_last and count >= size else count
    assert len(seen) == expected


def test_skipped_batches_are_not_made() -> None:
    """A resumed run reads only what it still needs."""
    read = []

    class Watched(np.ndarray):
        def __getitem__(self, key):  # noqa: ANN001, ANN204  # numpy's own
            read.append(key)
            return super().__getitem__(key)

    images = _images()
    watched = Images(
        pixels=images.pixels.view(Watched),
        labels=images.labels,
        size=images.size,
        digest="",
    )

    list(batches(watched, **{**ORDINARY, "augment": None}, start=5))

    assert len(read) == batch_count(50, batch_size=8, drop_last=False) - 5


def test_seed_and_epoch_set_the_order_and_view_does_not() -> None:
    """The same images come in the same order whichever view is drawn."""

    def order(**changed: object) -> list[int]:
        given_out = batches(_images(), **{**ORDINARY, **changed})
        return torch.cat([batch.index for batch in given_out]).tolist()

    assert order() == order(view=4)
    assert order() != order(epoch=3)
    assert order() != order(seed=4)
    assert order(shuffle=False) == list(range(50))


def test_without_a_view_every_epoch_draws_a_fresh_one() -> None:
    """View None is the epoch's number; without augmentation it is -1."""
    fresh = next(batches(_images(), **{**ORDINARY, "view": None, "epoch": 6}))
    same = next(batches(_images(), **{**ORDINARY, "view": 6, "epoch": 6}))
    plain = next(batches(_images(), **{**ORDINARY, "view": None, "augment": None}))

    _same([fresh], [same])
    assert plain.view == -1


def test_an_evaluation_sees_the_middle_of_every_image_in_order() -> None:
    """The center crop, nothing else."""
    images = _images()
    given_out = list(evaluation_batches(images, 16))

    pixels = torch.cat([batch.pixels for batch in given_out])
    expected = images.pixels[:, 2:10, 2:10].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(pixels.numpy(), expected)
    assert {batch.view for batch in given_out} == {-1}
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    labels = torch.cat([batch.labels for batch in given_out])
    np.testing.assert_array_equal(labels.numpy(), images.labels)


def test_workers_prepare_batches_while_the_caller_works() -> None:
    """Later batches are made before they are asked for; none when all is done."""
    made: list[int] = []

    class Watched(np.ndarray):
        def __getitem__(self, key):  # noqa: ANN001, ANN204  # numpy's own
            made.append(threading.get_ident())
            return super().__getitem__(key)

    images = _images()
    watched = Images(
        pixels=images.pixels.view(Watched),
        labels=images.labels,
        size=images.size,
        digest="",
    )
    before = threading.active_count()
    stream = batches(watched, **{**ORDINARY, "augment": None, "workers": 1})
    next(stream)
    deadline = time.monotonic() + 60
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)

    assert len(made) == 3
    assert threading.get_ident() not in made
    stream.close()
    assert threading.active_count() == before


def test_an_error_in_a_worker_reaches_the_caller() -> None:
    """It is not swallowed by the thread."""
    images = Images(
        pixels=np.zeros((3, 8, 8, 3), np.uint8),
        labels=np.zeros(9, np.int64),
        size=8,
        digest="",
    )
    with pytest.raises(IndexError):
        list(batches(images, **{**ORDINARY, "workers": 2}))


def test_ten_thousand_small_images_take_less_than_three_seconds() -> None:
    """Shift and mirror of 32 x 32 on one core: far less than a training step takes."""
    images = _images(10_000, store=32, size=32)
    asked = {**ORDINARY, "batch_size": 100, "augment": Augment()}
    best = min(_seconds(batches(images, **asked)) for _ in range(2))

    assert best < 3


def _seconds(stream: object) -> float:
    start = time.process_time()
    assert len(list(itertools.islice(stream, 100))) == 100
    return time.process_time() - start
