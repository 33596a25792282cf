"""Ranks under invented latencies: the slower is refused, budgets are met or told."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from compress.evaluation.costs import count_params
from compress.lowrank.choice import by_energy, by_latency, split_up
from compress.lowrank.layers import Split, spectra_of
from runtime.errors import RecipeError


def split(name: str, *, inputs: int = 64, outputs: int = 64, rank: int = 4) -> Split:
    """A linear layer whose weights are of about this rank."""
    torch.manual_seed(len(name))
    layer = nn.Linear(inputs, outputs)
    low = torch.randn(outputs, rank) @ torch.randn(rank, inputs)
    layer.weight.data = low + 0.1 * torch.randn(outputs, inputs)
    weight = layer.weight.detach()
    return spectra_of(name, layer, weight @ weight.T)


def by_params(_: str, candidates: Sequence[nn.Module]) -> list[float]:
    """A runtime on which a weight takes a microsecond."""
    return [count_params(each) / 1000 for each in candidates]


def dearer(_: str, candidates: Sequence[nn.Module]) -> list[float]:
    """A runtime on which each further operator takes a millisecond."""
    return [1.0, *(2.0 for _ in candidates[1:])]


def test_the_least_rank_that_keeps_the_energy_is_chosen() -> None:
    (found,) = by_energy([split("a")], 0.99, multiple=1, race=by_params)
    assert found.how is not None
    assert found.how.ranks == (4,)
    assert found.energy >= 0.99
    assert found.split.after.share_of(3) < 0.99
    assert found.ms_after == pytest.approx((64 * 4 * 2 + 64) / 1000)


def test_a_product_that_is_slower_is_refused() -> None:
    """However few weights it has."""
    (found,) = by_energy([split("a")], 0.99, multiple=1, race=dearer)
    assert found.how is None
    assert found.reason == "rank 4 would take 2.000 ms instead of 1.000"
    assert found.params == count_params(found.split.layer)
    assert split_up([found]) == {}


def test_a_product_that_saves_no_weights_is_not_even_timed() -> None:
    def never(_: str, __: Sequence[nn.Module]) -> list[float]:
        raise AssertionError

    (found,) = by_energy([split("a", rank=64)], 0.99, multiple=1, race=never)
    assert found.how is None
    assert found.reason.endswith("would save no weights")


@pytest.mark.parametrize("share", [0.9, 0.6, 0.4])
def test_a_budget_is_met_and_not_by_far(share: float) -> None:
    """The layer of high rank is spared as long as the others can give."""
    layers = [split("a"), split("bb"), split("ccc", rank=40)]
    total = sum(count_params(each.layer) for each in layers) / 1000

    found = by_latency(layers, share, multiple=4, race=by_params, network_ms=total)

    after = sum(each.ms_after or 0.0 for each in found)
    assert after <= share * total
    assert after > (share - 0.25) * total
    low, high = found[0].energy, found[2].energy
    assert low > 0.9
    assert high > 0.6
    if share > 0.5:
        assert found[2].how is None
        assert found[2].reason == "fast enough as it is"


def test_a_budget_that_cannot_be_met_says_the_closest() -> None:
    """Half of the network is not in these layers; rank 4 leaves 576 weights of 4160."""
    layers = [split("a")]
    total = 2 * count_params(layers[0].layer) / 1000
    with pytest.raises(
        RecipeError, match=r"latency: 0\.3 of .* out of reach; .* about 0\.57"
    ):
        by_latency(layers, 0.3, multiple=4, race=by_params, network_ms=total)


def test_where_nothing_is_faster_nothing_can_be_promised() -> None:
    with pytest.raises(RecipeError, match=r"it is about 1\.00"):
        by_latency([split("a")], 0.9, multiple=4, race=dearer, network_ms=1.0)
