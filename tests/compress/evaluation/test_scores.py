"""Scores on images: every network is asked once, and about what it was asked for."""

from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.context.memo import Memo
from compress.evaluation.scores import PARITY_BATCH, network_scores
from runtime.errors import InputRejectedError

IMAGES = 40


class Counted(nn.Module):
    """A classifier that notes how many images it was shown at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        logits: Tensor = self.head(images.mean((2, 3)))
        return logits


def test_a_network_answers_an_image_once(tiny: ModuleType) -> None:
    """The oracle: all images in one batch, by the network itself."""
    net, images, memo = Counted(), tiny.images(IMAGES), Memo()
    model = tiny.model(net)

    first = network_scores(net, model, images, memo)
    again = network_scores(net, model, images, memo)

    assert net.seen == [PARITY_BATCH, IMAGES - PARITY_BATCH]
    assert again is first
    pixels = torch.from_numpy(images.pixels).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = net(model.prepare(pixels)).numpy()
    np.testing.assert_allclose(first, expected, rtol=1e-5, atol=1e-6)


def test_some_of_the_images_are_looked_up_where_all_are_known(
    tiny: ModuleType,
) -> None:
    """And asked about where not; both ways say the same."""
    net, images, memo = Counted(), tiny.images(IMAGES), Memo()
    model = tiny.model(net)

    alone = network_scores(net, model, images, memo, step=3)
    assert net.seen == [14]
    whole = network_scores(net, model, images, memo)
    taken = network_scores(net, model, images, memo, step=3)

    assert net.seen == [14, PARITY_BATCH, IMAGES - PARITY_BATCH]
    np.testing.assert_array_equal(taken, whole[::3])
    np.testing.assert_allclose(taken, alone, rtol=1e-5, atol=1e-6)


def test_other_networks_and_other_images_are_asked(tiny: ModuleType) -> None:
    """Though weights may be the same, and though as many images were seen before."""
    memo, nets = Memo(), (Counted(), Counted())
    for net in nets:
        for seed in (0, 1):
            images = tiny.images(8, seed=seed)
            network_scores(net, tiny.model(net), images, memo)
    assert [net.seen for net in nets] == [[8, 8], [8, 8]]


def test_no_image_to_judge_by_is_one_sentence(tiny: ModuleType) -> None:
    with pytest.raises(InputRejectedError, match="no held-out images to judge"):
        network_scores(Counted(), tiny.model(Counted()), tiny.images(0), Memo())
