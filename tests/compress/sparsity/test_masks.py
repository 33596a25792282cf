"""Masks against plain loops and counts."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from compress.sparsity.masks import apply_, by_magnitude, masks_of, n_of_m
from compress.sparsity.schedule import cubic


def weights(*shapes: tuple[int, ...], seed: int = 0) -> dict[str, Tensor]:
    """Random weights of layers a, b, …, each ten times as large as the one before."""
    chance = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(*shape, generator=chance) * 10.0**place
        for place, (name, shape) in enumerate(zip("abcd", shapes, strict=False))
    }


@pytest.mark.parametrize("sparsity", [0.01, 0.33, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_smallest_weights_of_all_layers_go(sparsity: float, seed: int) -> None:
    """Against sorting every weight of the network."""
    layers = weights((4, 3, 3, 3), (5, 4), seed=seed)
    every = torch.cat([each.flatten().abs() for each in layers.values()])
    gone = round(sparsity * len(every))

    masks = by_magnitude(layers, sparsity=sparsity, scope="global")

    kept = (
        torch.cat([layers[name][mask].abs() for name, mask in masks.items()])
        .sort()
        .values
    )
    torch.testing.assert_close(kept, every.sort().values[gone:])


def test_each_layer_gives_its_own_share() -> None:
    """Whatever the scale of its weights; the number is exact."""
    layers = weights((4, 3, 3, 3), (5, 4))

    masks = by_magnitude(layers, sparsity=0.6, scope="layer")

    for name, mask in masks.items():
        assert int((~mask).sum()) == round(0.6 * mask.numel())
        assert layers[name][mask].abs().min() >= layers[name][~mask].abs().max()


def test_of_equal_weights_the_first_stay() -> None:
    """Ties must not make one zero too many or too few."""
    masks = by_magnitude({"a": torch.ones(2, 5)}, sparsity=0.5, scope="global")
    assert masks["a"].tolist() == [[True] * 5, [False] * 5]


def test_nothing_goes_where_the_share_is_less_than_a_weight() -> None:
    masks = by_magnitude({"a": torch.zeros(2, 2)}, sparsity=0.1, scope="layer")
    assert masks["a"].all()


@pytest.mark.parametrize(("kept", "of"), [(2, 4), (4, 8), (1, 4)])
def test_n_of_m_keeps_the_largest_of_each_group_of_inputs(kept: int, of: int) -> None:
    """Against a loop over every group, at every place of the kernel."""
    weight = torch.randn(3, 16, 3, 2)

    mask = n_of_m(weight, kept=kept, of=of)

    for out, start, row, column in itertools.product(
        range(3), range(0, 16, of), range(3), range(2)
    ):
        group = weight[out, start : start + of, row, column].abs()
        chosen = mask[out, start : start + of, row, column]
        assert set(chosen.nonzero().flatten().tolist()) == set(
            sorted(range(of), key=lambda i: -group[i])[:kept]
        )


def test_n_of_m_of_a_linear_layer() -> None:
    weight = torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.0, 0.0, 0.0, 1.0]])
    assert n_of_m(weight, kept=2, of=4).int().tolist() == [[0, 1, 1, 0, 1, 0, 0, 1]]


def test_the_weights_of_a_block_stay_or_go_together() -> None:
    """Blocks of four neighboring outputs; those of the smallest mean go."""
    weight = torch.randn(8, 6, 1, 1)

    mask = by_magnitude({"a": weight}, sparsity=0.5, scope="global", block=4)["a"]

    blocks = mask.view(2, 4, 6)
    assert (blocks.all(dim=1) | (~blocks).all(dim=1)).all()
    means = weight.abs().view(2, 4, 6).mean(dim=1)
    stay = blocks.all(dim=1)
    assert int(stay.sum()) == 6
    assert means[stay].min() >= means[~stay].max()


def test_a_mask_read_off_a_network_is_the_one_that_was_applied() -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8, 3))
    before = net[0].bias.clone()
    masks = by_magnitude(
        {"0.weight": net[0].weight, "2.weight": net[2].weight},
        sparsity=0.7,
        scope="global",
    )

    apply_(net, masks)

    again = masks_of(net, tuple(masks))
    assert all(torch.equal(masks[name], again[name]) for name in masks)
    assert torch.equal(net[0].bias, before)
    zeros = net[0].weight[~masks["0.weight"]]
    assert not zeros.signbit().any()


def test_the_cubic_schedule_is_that_of_zhu_and_gupta() -> None:
    """s(t) = s_f + (s_i - s_f)(1 - (t - t0) / (n dt))^3, from s_i = 0."""
    for step in range(11):
        expected = 0.8 + (0.0 - 0.8) * (1 - step / 10) ** 3
        assert cubic(step / 10, 0.8) == pytest.approx(expected)
    assert cubic(-1.0, 0.8) == 0.0
    assert cubic(2.0, 0.8) == 0.8
