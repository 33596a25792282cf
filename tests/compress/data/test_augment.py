import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.context.vision import torchvision
from compress.data.augment import Augment, augmented, default_augment
from compress.data.data import Data, Images

v2 = torchvision.transforms.v2

ALL = [
    Augment(crop="none", flip=False),
    Augment(crop="pad"),
    Augment(crop="resized"),
    Augment(crop="pad", randaugment=9),
    Augment(crop="resized", flip=False, randaugment=30),
]


@settings(max_examples=25, deadline=None)
@given(
    augment=st.sampled_from(ALL),
    rows=st.lists(st.integers(0, 19), min_size=1, max_size=6),
    view=st.integers(0, 5),
)
def test_a_view_depends_on_seed_view_and_index_alone(
    augment: Augment, rows: list[int], view: int
) -> None:
    """Whatever batch it is in, an image's view is the same."""
    images = _images(store=24, size=16)

    def drawn(which: list[int]) -> torch.Tensor:
        return augmented(images, np.array(which), augment=augment, seed=4, view=view)

    together = drawn(rows)
    alone = torch.cat([drawn([row]) for row in rows])
    assert together.shape == (len(rows), 3, 16, 16)
    assert together.dtype == torch.uint8
    torch.testing.assert_close(together, alone, rtol=0, atol=0)


def _images(*, store: int, size: int, count: int = 20) -> Images:
    """Images that need no file."""
    rng = np.random.default_rng(0)
    return Images(
        pixels=rng.integers(0, 256, (count, store, store, 3), np.uint8),
        labels=np.zeros(count, np.int64),
        size=size,
        digest="noise",
    )


@pytest.mark.parametrize("augment", ALL[1:], ids=str)
def test_seed_and_view_change_what_is_seen(augment: Augment) -> None:
    """Of twenty images most look different under another seed or view."""
    images, rows = _images(store=16, size=16), np.arange(20)
    first = augmented(images, rows, augment=augment, seed=0, view=0)
    for seed, view in ((0, 1), (1, 0)):
        other = augmented(images, rows, augment=augment, seed=seed, view=view)
        assert (first != other).flatten(1).any(1).sum() >= 12


@pytest.mark.parametrize("augment", ALL, ids=str)
def test_the_global_generator_is_neither_read_nor_moved(augment: Augment) -> None:
    """Dropout in the training loop must not notice how batches are made."""
    images, rows = _images(store=16, size=16), np.arange(20)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = augmented(images, rows, augment=augment, seed=0, view=0)
    assert torch.equal(torch.get_rng_state(), state)

    torch.manual_seed(2)
    second = augmented(images, rows, augment=augment, seed=0, view=0)

    assert torch.equal(first, second)


def test_a_shifted_crop_is_a_window_of_the_padded_image() -> None:
    """Every view is one of the (2 p + 1)^2 x 2 windows, and many of them occur."""
    images = _images(store=16, size=16, count=200)
    views = augmented(
        images, np.arange(200), augment=Augment(crop="pad"), seed=0, view=0
    )
    padded = np.pad(images.pixels, ((0, 0), (2, 2), (2, 2), (0, 0)))

    seen = set()
    for row, view in enumerate(views.permute(0, 2, 3, 1).numpy()):
        windows = {
            (top, left, flip): padded[row, top : top + 16, left : left + 16][
                :, :: -1 if flip else 1
            ]
            for top in range(5)
            for left in range(5)
            for flip in (False, True)
        }
        (found,) = (at for at, pixels in windows.items() if (pixels == view).all())
        seen.add(found)
    assert len(seen) >= 45


def test_a_shift_uses_stored_pixels_before_black() -> None:
    """An image stored larger than it is looked at needs no padding."""
    images = _images(store=20, size=16)
    views = augmented(
        images, np.arange(20), augment=Augment(flip=False), seed=0, view=0
    )
    for row, view in enumerate(views.permute(0, 2, 3, 1).numpy()):
        assert any(
            (images.pixels[row, top : top + 16, left : left + 16] == view).all()
            for top in range(5)
            for left in range(5)
        )


def test_a_resized_crop_covers_area_and_ratio_like_torchvision() -> None:
    """Mean share of the image that is seen, against v2.RandomResizedCrop's own draws.

    A horizontal and a vertical ramp tell where the part began and how wide it was.
    """
    count, side = 600, 64
    ramp = np.broadcast_to(np.arange(side, dtype=np.uint8) * 4, (side, side))
    pixels = np.broadcast_to(
        np.stack([ramp, ramp.T, ramp], axis=-1), (count, side, side, 3)
    )
    images = Images(
        pixels=pixels, labels=np.zeros(count, np.int64), size=side, digest=""
    )
    views = augmented(
        images,
        np.arange(count),
        augment=Augment(crop="resized", flip=False),
        seed=0,
        view=0,
    ).float()

    def spans(batch: torch.Tensor) -> torch.Tensor:
        wide = batch[:, 0].amax((1, 2)) - batch[:, 0].amin((1, 2))
        high = batch[:, 1].amax((1, 2)) - batch[:, 1].amin((1, 2))
        start = batch[:, 0].amin((1, 2))
        return torch.stack(
            [(wide * high).mean(), (wide / high).log().mean(), start.mean()]
        )

    torch.manual_seed(0)
    crop = v2.RandomResizedCrop(side, antialias=True)
    image = torch.from_numpy(pixels[0].copy()).permute(2, 0, 1)
    theirs = torch.stack([crop(image) for _ in range(count)]).float()
    ours, expected = spans(views), spans(theirs)
    torch.testing.assert_close(ours[0], expected[0], rtol=0.1, atol=0)
    assert abs(ours[1] - expected[1]) < 0.05
    torch.testing.assert_close(ours[2], expected[2], rtol=0.2, atol=0)


def test_threads_do_not_disturb_each_other() -> None:
    """Two threads drawing at once get what one alone gets."""
    images, rows = _images(store=24, size=16), np.arange(20)
    augment = Augment(crop="resized", randaugment=9)
    expected = augmented(images, rows, augment=augment, seed=0, view=0)
    wrong = []

    def work() -> None:
        for _ in range(5):
            drawn = augmented(images, rows, augment=augment, seed=0, view=0)
            wrong.extend([] if torch.equal(drawn, expected) else ["differs"])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_characters_are_not_mirrored_and_large_images_are_resized() -> None:
    """A mirrored 2 is no 2; a mirrored cat is a cat."""

    def chosen(
        classes: tuple[str, ...], *, size: int, indexed: bool = False
    ) -> Augment:
        part = _images(store=size, size=size, count=2)
        return default_augment(
            Data(name="x", classes=classes, train=part, val=None, indexed=indexed)
        )

    assert chosen(tuple("0123456789"), size=32) == Augment(crop="pad", flip=False)
    assert chosen(("cat", "dog"), size=32) == Augment(crop="pad", flip=True)
    assert chosen(tuple("01"), size=224, indexed=True) == Augment(crop="resized")


def test_the_record_tells_augmentations_apart() -> None:
    """It goes into the teacher cache's key."""
    records = [str(augment.as_record()) for augment in ALL]

    assert len(set(records)) == len(ALL)
    with pytest.raises(ValueError, match="31 is not in 0 to 30"):
        Augment(randaugment=31)
