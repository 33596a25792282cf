"""Costs against sums done by hand, and accuracy against answers known beforehand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.data.data import Images
from compress.evaluation.costs import (
    accuracy,
    activation_bytes,
    costs_of,
    count_macs,
    training_bytes,
)
from compress.evaluation.liveness import Step, peak
from compress.models.model import Model
from compress.models.spec import ModelSpec
from runtime.preprocess import Preprocess


def chain() -> nn.Sequential:
    """3x16x16 -> 8x16x16 -> 8x8x8 -> 4x8x8 -> 4 -> 10."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 10),
    )


class Skip(nn.Module):
    """x + b(a(x)): the input stays alive until the addition."""

    def __init__(self) -> None:
        """Two convolutions of 8 channels."""
        super().__init__()
        self.a = nn.Conv2d(8, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions make of `x`."""
        return x + self.b(self.a(x))


def model_around(net: nn.Module, size: int) -> Model:
    """A model of ten classes."""
    return Model(
        spec=ModelSpec(name="lenet5"),
        net=net,
        preprocess=Preprocess(size=size, resize=size),
        classes=tuple("abcdefghij"),
    )


def test_a_chain_costs_what_a_sum_by_hand_says() -> None:
    """Every number from the shapes in `chain`, in bytes of float32."""
    found = costs_of(model_around(chain(), 16))

    learnt = (3 * 9 * 8 + 8) + 2 * 8 + (8 * 4 + 4) + (4 * 10 + 10)
    assert found.params == learnt
    assert found.macs == 16 * 16 * 27 * 8 + 8 * 8 * 8 * 4 + 4 * 10
    # running mean and variance, and the counter, which float32 would write too
    assert found.size_bytes == 4 * (learnt + 2 * 8 + 1)
    # input and output of the first convolution; norm and ReLU write over its output
    assert found.activation_bytes == 4 * (3 + 8) * 16 * 16
    # for the backward pass: image, input of the norm, ReLU's output, the maximum's
    # indices (int64) and its output, the features
    kept = 4 * (3 + 8 + 8) * 16 * 16 + 8 * 8 * 64 + 4 * 8 * 64 + 4 * 4
    assert found.training_bytes == kept


def test_a_skip_connection_keeps_its_input_alive() -> None:
    """Three maps at once: x, a(x) and b(a(x)); the sum is written over one of them."""
    net = nn.Sequential(nn.Conv2d(3, 8, 1), Skip())

    assert activation_bytes(net, size=10) == 3 * 4 * 8 * 10 * 10


def test_counting_changes_nothing() -> None:
    """Modes, gradients and running statistics stay as they were."""
    net = chain().train()
    net[1].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    costs_of(model_around(net, 16))

    assert [module.training for module in net] == [True, False, *[True] * 6]
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(before[n], t) for n, t in net.state_dict().items())


def test_attention_counts_both_of_its_products() -> None:
    """Scores and weighted values: 2 * tokens^2 * width, besides four projections."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(3, 24, bias=False)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.qkv(images.flatten(2).transpose(1, 2))
            q, k, v = tokens.chunk(3, dim=2)
            return nn.functional.scaled_dot_product_attention(q, k, v).mean(dim=1)

    assert count_macs(Attention(), size=4) == 16 * 3 * 24 + 2 * 16 * 16 * 8


def test_a_net_that_looks_at_numbers_is_counted_on_real_ones() -> None:
    """The meta device has none; the answer must not change."""

    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = chain()

        def forward(self, images: Tensor) -> Tensor:
            if float(images.sum()) > 1e9:
                raise ValueError
            return self.inner(images)

    assert count_macs(Looks(), size=16) == count_macs(chain(), size=16)
    assert training_bytes(Looks(), size=16) == training_bytes(chain(), size=16)


def test_the_peak_is_the_highest_sum_of_live_buffers() -> None:
    """Three steps by hand: a -> b (a dies), b -> c in place, b's neighbor waits."""
    steps = [
        Step(frozenset({0}), (1, 2), elementwise=False),  # 100 + 30 + 50
        Step(frozenset({1}), (3,), elementwise=True),  # written over buffer 1
        Step(frozenset({2, 3}), (4,), elementwise=False),  # 50 + 30 + 7
    ]
    sizes = {0: 100, 1: 30, 2: 50, 3: 30, 4: 7}

    assert peak(steps, sizes, source=0, results={4}) == 180
    assert peak(steps, sizes | {0: 1}, source=0, results={4}) == 87


@pytest.mark.parametrize("classes", [3, 10])
def test_accuracy_counts_first_and_first_five(classes: int) -> None:
    """Image i shows the brightness i; the answers are written down beforehand."""
    count = 20
    labels = np.arange(count) % classes
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(8, 1)
    images = Images(
        pixels=np.ascontiguousarray(pixels.repeat(8, 2).repeat(3, 3)),
        labels=labels.astype(np.int64),
        size=8,
        digest="",
    )

    def logits(seen: Tensor) -> Tensor:
        """The label comes first for images below 10, and last for all others."""
        number = seen[:, 0, 0, 0].to(torch.int64)
        answer = -torch.arange(classes).repeat(len(number), 1).to(torch.float32)
        mine = number % classes
        answer[torch.arange(len(number)), mine] = torch.where(number < 10, 9.0, -99.0)
        return answer

    found = accuracy(logits, images)

    assert (found.images, found.classes) == (count, classes)
    assert found.top1 == 0.5
    assert found.top5 == (1.0 if classes <= 5 else 0.5)


def test_accuracy_of_a_model_leaves_its_mode_alone() -> None:
    """Evaluation in the middle of training must not end it."""
    net = chain().train()
    images = Images(
        pixels=np.zeros((3, 16, 16, 3), np.uint8),
        labels=np.zeros(3, np.int64),
        size=16,
        digest="",
    )

    found = accuracy(model_around(net, 16), images)

    assert found.images == 3
    assert net.training
