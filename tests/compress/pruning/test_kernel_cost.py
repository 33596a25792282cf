"""Widths under a budget of MACs: what kernels save is traded against scores."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from compress.context.aim import Aim
from compress.pruning.budget import Ranking, allowed_units, pools_of
from compress.pruning.graph import groups_of
from compress.pruning.kernel_cost import KernelCost, cost_for, little_gained
from compress.pruning.layout import Layer, Layout
from compress.pruning.tradeoff import traded
from compress.recipe.prune import Prune
from runtime.errors import RecipeError
from runtime.machine import Machine, this_machine

SIZE = 32
LAYER = Layer(
    name="conv",
    inputs=32,
    outputs=32,
    groups=1,
    kernel=(3, 3),
    stride=(1, 1),
    height=8,
    width=8,
    biased=True,
)


class Net(nn.Module):
    """Depthwise layers on large maps, dense ones on small maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(64, 64, 3, padding=1, groups=64)
        self.mix = nn.Conv2d(64, 128, 1, stride=4)
        self.last = nn.Conv2d(128, 256, 3, padding=1)
        self.head = nn.Linear(256, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 4] of images [n, 3, h, w]."""
        maps = self.mix(self.deep(self.stem(images).relu()).relu()).relu()
        return self.head(self.last(maps).relu().mean((2, 3)))


@pytest.fixture(name="layout", scope="module")
def layout_fixture() -> Layout:
    """Its layers and what may be cut of them."""
    torch.manual_seed(0)
    net = Net().eval()
    return Layout(net, groups_of(net, size=SIZE, name="net"), size=SIZE)


@pytest.mark.parametrize("block", [8, 16])
def test_a_part_of_a_block_costs_a_whole_one(block: int) -> None:
    """Nothing is saved until a block of channels is gone."""
    cost = KernelCost(block=block)

    assert cost(LAYER) == cost(replace(LAYER, outputs=33 - block))
    assert cost(LAYER) > cost(replace(LAYER, outputs=32 - block))
    assert cost(LAYER) == cost(replace(LAYER, inputs=33 - block))


def test_depthwise_multiplications_are_dear_and_small_maps_wait_for_weights() -> None:
    """A microsecond buys fewer of them."""
    cost = KernelCost(block=16)
    deep = replace(LAYER, inputs=512, outputs=512, groups=512)
    small = replace(LAYER, inputs=512, outputs=512, height=1, width=1)

    for dear in (deep, small):
        assert cost(dear) / dear.macs > 2 * cost(LAYER) / LAYER.macs


def test_the_block_is_that_of_the_kernels() -> None:
    """AVX-512 and INT8 compute 16 channels at a time, NEON and AVX2 8 floats."""
    arm = replace(this_machine(), features=("asimd",))
    x86 = replace(this_machine(), features=("avx2", "avx512f"))

    def block(aim: Aim, machine: Machine) -> int:
        return cost_for(replace(aim, device="there"), lambda _: machine).block

    assert [block(Aim(), machine) for machine in (arm, x86)] == [8, 16]
    assert block(Aim(dtype="int8"), arm) == 16


def test_more_time_is_saved_than_by_scores_alone(layout: Layout) -> None:
    """Within the same budget, and no layer in parts of blocks without need."""
    torch.manual_seed(0)
    scores = [torch.rand(group.units) for group in layout.groups]
    allowed = [allowed_units(group, round_to=8) for group in layout.groups]
    most = 0.5 * layout.macs(layout.full)
    cost = KernelCost(block=16)

    kept = traded(
        layout,
        scores,
        cost,
        most=most,
        allowed=allowed,
        unit=" MACs",
        spent=layout.macs,
    )

    pools = pools_of(Net(), layout.groups, "isomorphic")
    ranked = Ranking(scores=scores, pools=pools, allowed=allowed)
    others = ranked.within(layout.macs, most)
    us = [sum(map(cost, layout.layers(each))) for each in (kept, others)]
    assert us[0] < us[1]
    assert 0.8 * most < layout.macs(kept) <= most


def test_where_there_is_little_to_gain_it_is_said(layout: Layout) -> None:
    """Half a block of every layer saves no time at all; half of all layers does."""
    cost = KernelCost(block=16)
    kept = [units - 8 for units in layout.full]

    assert "about 1.00x less time here" in (little_gained(layout, kept, cost) or "")
    large = Layout(Net().eval(), layout.groups, size=256)
    assert little_gained(large, [units // 2 for units in large.full], cost) is None


def test_a_budget_beyond_reach_is_told_as_one(layout: Layout) -> None:
    """Every layer keeps a quarter."""
    allowed = [allowed_units(group, round_to=8) for group in layout.groups]
    scores = [torch.ones(group.units) for group in layout.groups]

    with pytest.raises(RecipeError, match="a budget of 1 MACs cannot be met"):
        traded(
            layout,
            scores,
            KernelCost(block=8),
            most=1,
            allowed=allowed,
            unit=" MACs",
            spent=layout.macs,
        )


@pytest.mark.parametrize(
    ("options", "follows"),
    [
        ({"macs": 0.5}, False),
        ({"macs": 0.5, "widths": "kernels"}, True),
        ({"macs": 0.5, "widths": "kernels", "scope": "global"}, False),
        ({"macs": 0.5, "widths": "kernels", "criterion": "reconstruction"}, False),
        ({"params": 0.5, "widths": "kernels"}, False),
        ({"ratio": 0.5}, False),
    ],
)
def test_who_names_a_ranking_gets_it(
    options: dict[str, object], *, follows: bool
) -> None:
    """Kernels decide under a budget of MACs, where that is asked for."""
    assert Prune.model_validate(options).follows_kernels() is follows
