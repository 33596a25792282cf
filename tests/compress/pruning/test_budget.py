"""Widths that meet a budget: as close as the multiple allows, never above."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from compress.pruning.budget import Ranking, allowed_units, least_missed, pools_of
from compress.pruning.criteria import CRITERIA, Criterion, scores
from compress.pruning.graph import groups_of
from compress.pruning.group import Group
from compress.pruning.layout import Kept
from runtime.errors import RecipeError


def ranking(*values: list[float], multiple: int = 1) -> Ranking:
    """Groups with these scores, ranked together."""
    allowed = [
        [n for n in range(1, len(v) + 1) if n % multiple == 0 or n == len(v)]
        for v in values
    ]
    return Ranking(
        scores=[torch.tensor(v) for v in values],
        pools=[list(range(len(values)))],
        allowed=allowed,
    )


def test_the_lowest_scores_of_a_pool_go() -> None:
    assert ranking([1, 2, 3, 4], [5, 6, 7, 8]).kept(0.25) == [2, 4]
    assert least_missed(torch.tensor([3.0, 1.0, 2.0, 4.0]), 2) == [1, 2]


def test_a_budget_is_met_as_closely_as_widths_allow() -> None:
    """The oracle tries every combination: nothing that fits costs more by a step."""
    generator = torch.Generator().manual_seed(0)
    values = [torch.rand(n, generator=generator).tolist() for n in (8, 12, 16)]
    found = ranking(*values, multiple=4)

    def cost(kept: Kept) -> float:
        return 2.0 * kept[0] * kept[1] + kept[1] * kept[2]

    for most in (60.0, 100.0, 200.0, 300.0):
        kept = found.within(cost, most)
        pairs = list(zip(found.allowed, kept, strict=True))
        wider = [[n for n in allowed if n > k][:1] for allowed, k in pairs]
        for index, more in enumerate(wider):
            for each in more:
                trial = [*kept]
                trial[index] = each
                assert cost(trial) > most
        assert cost(kept) <= most
        assert all(k in allowed for allowed, k in pairs)


def test_a_budget_out_of_reach_says_how_close_one_can_get() -> None:
    with pytest.raises(RecipeError, match=r"budget of 3 MACs.*closest.*4 MACs of 8"):
        ranking([1.0] * 8, multiple=4).within(lambda k: float(k[0]), 3.0, unit=" MACs")


@pytest.mark.parametrize(
    ("units", "channels", "multiple", "expected"),
    [
        (32, 1, 8, (8, 16, 24, 32)),
        (20, 1, 8, (8, 16, 20)),
        (4, 1, 8, (4,)),
        (8, 4, 8, (2, 4, 6, 8)),
        (4, 16, 8, (1, 2, 3, 4)),
        (160, 1, 8, tuple(range(16, 161, 8))),  # a tenth stays at least
    ],
)
def test_widths_are_multiples_where_channels_allow(
    units: int, channels: int, multiple: int, expected: tuple[int, ...]
) -> None:
    unit = tuple(tuple(range(i * channels, (i + 1) * channels)) for i in range(units))
    group = Group(places={("a", "out"): unit}, axis={})

    assert allowed_units(group, round_to=multiple) == expected


def two_layers() -> nn.Sequential:
    """Two layers of four and three channels, before a classifier."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2),
    )  # fmt: skip


def by_hand(criterion: Criterion, net: nn.Sequential) -> Tensor:
    """What the criterion says of the first layer, relative to its mean."""
    first, norm, second = net[0], net[1], net[2]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    out, into = first.weight.flatten(1), second.weight.flatten(2)[:, :, 0].T
    match criterion:
        case "l1":
            found = out.abs().sum(1) + into.abs().sum(1)
        case "l2":
            found = out.square().sum(1) + into.square().sum(1)
        case "bn":
            found = norm.weight.abs()  # type: ignore[union-attr, operator]
        case _:
            pairs = itertools.product(range(4), repeat=2)
            found = torch.zeros(4)
            for i, j in pairs:
                found[i] += (out[i] - out[j]).norm()
    return (found / found.mean()).detach()


@pytest.mark.parametrize("criterion", ["l1", "l2", "bn", "fpgm"])
def test_criteria_say_what_their_papers_say(criterion: Criterion) -> None:
    net = two_layers()
    nn.init.uniform_(net[1].weight)  # type: ignore[arg-type]
    groups = groups_of(net, size=4, name="net")
    first = next(i for i, g in enumerate(groups) if g.name == "0")

    found = scores(net, groups, criterion, rng=torch.Generator())

    torch.testing.assert_close(found[first], by_hand(criterion, net))


def test_taylor_is_what_a_small_change_of_a_channel_does_to_the_loss() -> None:
    """Against the slope of the loss as the channel's weights are scaled."""
    net = two_layers().eval()
    groups = groups_of(net, size=4, name="net")
    first = next(i for i, g in enumerate(groups) if g.name == "0")
    images, labels = torch.rand(8, 3, 4, 4), torch.arange(8) % 2
    loss = nn.functional.cross_entropy(net(images), labels)
    names, weights = zip(*net.named_parameters(), strict=True)
    slopes = dict(zip(names, torch.autograd.grad(loss, weights), strict=True))

    found = scores(net, groups, "taylor", rng=torch.Generator(), gradients=slopes)

    step = 1e-3
    expected = torch.zeros(4)
    with torch.no_grad():
        for channel in range(4):
            for layer, row in ((net[0], (channel,)), (net[2], (slice(None), channel))):
                layer.weight[row] *= 1 + step  # type: ignore[index, operator]
                after = nn.functional.cross_entropy(net(images), labels)
                layer.weight[row] /= 1 + step  # type: ignore[index, operator]
                expected[channel] += (after - loss).abs() / step / 2
    torch.testing.assert_close(found[first], expected, atol=2e-3, rtol=0.1)


def test_layers_alike_are_ranked_together() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    groups = groups_of(net, size=4, name="net")
    names = {index: group.name for index, group in enumerate(groups)}

    def pools(scope: str) -> set[frozenset[str]]:
        found = pools_of(net, groups, scope)  # type: ignore[arg-type]
        return {frozenset(names[i] for i in pool) for pool in found}

    assert pools("global") == {frozenset({"0", "2", "4"})}
    assert pools("local") == {frozenset({"0"}), frozenset({"2"}), frozenset({"4"})}
    assert pools("isomorphic") == {frozenset({"0", "2"}), frozenset({"4"})}


def test_every_criterion_has_a_score_for_every_group() -> None:
    net = two_layers()
    groups = groups_of(net, size=4, name="net")
    slopes = {name: torch.ones_like(p) for name, p in net.named_parameters()}
    for criterion in CRITERIA:
        found = scores(net, groups, criterion, rng=torch.Generator(), gradients=slopes)
        assert [len(each) for each in found] == [group.units for group in groups]
        assert all(bool(each.isfinite().all()) for each in found)
