"""Scores of networks: asked once in a run, whoever wants to know."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.context.memo import Memo
from compress.data.data import Images
from compress.evaluation.scores import network_scores
from compress.models.model import Model
from compress.models.spec import ModelSpec
from runtime.errors import InputRejectedError
from runtime.preprocess import Preprocess


class Counting(nn.Module):
    """The mean of each channel, and how many images it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        return images.mean(dim=(2, 3))


def images(count: int) -> Images:
    """Noise; labels go round."""
    rng = np.random.default_rng(0)
    return Images(
        pixels=rng.integers(0, 256, (count, 8, 8, 3), np.uint8),
        labels=np.arange(count) % 3,
        size=8,
        digest="noise",
    )


def model() -> Model:
    """A model around such a network."""
    return Model(
        spec=ModelSpec(name="counting"),
        net=Counting(),
        preprocess=Preprocess(size=8, resize=8),
        classes=("a", "b", "c"),
    )


def test_a_network_answers_an_image_once_in_a_run() -> None:
    """Every image, then every third: the oracle is the network itself."""
    whole, shown, memo = model(), images(50), Memo()

    every = network_scores(whole.net, whole, shown, memo)
    some = network_scores(whole.net, whole, shown, memo, step=3)
    again = network_scores(whole.net, whole, shown, memo)

    assert whole.net.asked == 50
    pixels = torch.from_numpy(shown.pixels).permute(0, 3, 1, 2)
    expected = Counting()(whole.prepare(pixels))
    torch.testing.assert_close(torch.from_numpy(np.array(every)), expected)
    assert np.array_equal(some, every[::3])
    assert np.array_equal(again, every)


def test_another_network_is_asked_for_itself() -> None:
    whole, other, memo = model(), model(), Memo()
    for each in (whole, other):
        network_scores(each.net, each, images(10), memo)
    assert (whole.net.asked, other.net.asked) == (10, 10)


def test_no_held_out_images_is_one_sentence() -> None:
    whole = model()
    with pytest.raises(InputRejectedError, match="no held-out images"):
        network_scores(whole.net, whole, images(0), Memo())
