"""Mixup and CutMix against their definitions."""

from types import ModuleType

import pytest
import torch

from compress.data.batches import evaluation_batches
from compress.data.data import Batch
from compress.training.mixing import mixed


@pytest.fixture
def batch(tiny: ModuleType) -> Batch:
    """Six images of three classes."""
    first: Batch = next(evaluation_batches(tiny.images(6), 6))
    return first


def seeded(batch: Batch, tiny: ModuleType, seed: int, **fields: float) -> Batch:
    """What one seed makes of a batch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return mixed(batch, tiny.options(**fields), classes=3)


def test_without_mixing_the_batch_is_left_alone(tiny: ModuleType, batch: Batch) -> None:
    assert mixed(batch, tiny.options(), classes=3) is batch


@pytest.mark.parametrize("fields", [{"mixup": 0.4}, {"cutmix": 1.0}], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_labels_are_shares_that_sum_to_one(
    tiny: ModuleType, batch: Batch, fields: dict[str, float], seed: int
) -> None:
    """Also the images keep their range, and the batch its indices and view."""
    made = seeded(batch, tiny, seed, **fields)

    torch.testing.assert_close(made.labels.sum(dim=1), torch.ones(6))
    assert made.labels.min() >= 0
    assert made.pixels.min() >= 0
    assert made.pixels.max() <= 255
    assert torch.equal(made.index, batch.index)
    assert made.view == batch.view
    assert not torch.equal(made.pixels, batch.pixels.float())


def test_mixup_blends_images_by_the_share_of_their_labels(
    tiny: ModuleType, batch: Batch
) -> None:
    """Image i is s * i + (1 - s) * partner, labels too (Zhang et al. 2018)."""
    made = seeded(batch, tiny, 0, mixup=1.0)

    share = made.labels[0, batch.labels[0]]  # the partner is of another class
    partner = batch.pixels.float().roll(1, 0)
    expected = share * batch.pixels.float() + (1 - share) * partner
    assert 0 < share < 1
    torch.testing.assert_close(made.pixels, expected, rtol=1e-4, atol=1e-2)


def test_cutmix_pastes_the_share_of_its_labels(tiny: ModuleType, batch: Batch) -> None:
    """Each pixel is one of two images'; shares are areas (Yun et al. 2019)."""
    made = seeded(batch, tiny, 3, cutmix=1.0)

    own = batch.pixels.float()
    partner = own.roll(1, 0)
    kept = (made.pixels == own).all(dim=1)
    pasted = (made.pixels == partner).all(dim=1)
    assert (kept | pasted).all()
    share = made.labels[0, batch.labels[0]]
    assert 0 < share < 1
    assert float((~kept).float().mean()) == pytest.approx(1 - float(share), abs=1e-6)


def test_with_both_a_coin_decides(tiny: ModuleType, batch: Batch) -> None:
    """Among ten seeds some cut (pixels are kept whole) and some blend."""
    whole = batch.pixels.float()
    cut = [
        bool((seeded(batch, tiny, s, mixup=1.0, cutmix=1.0).pixels % 1 == 0).all())
        for s in range(10)
    ]

    assert any(cut)
    assert not all(cut)
    assert torch.equal(whole, batch.pixels.float())
