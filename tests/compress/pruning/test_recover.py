"""What images alone can do for a cut network, against what can be worked out."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from compress.pruning.budget import least_missed
from compress.pruning.cutting import cut, kept_channels
from compress.pruning.graph import groups_of
from compress.pruning.least_squares import LeastSquares
from compress.pruning.reconstruction_error import reconstruction_errors
from compress.pruning.recover import reconstructed, renormalized


def batches() -> Iterator[Tensor]:
    """Four batches, the same ones each time."""
    rng = torch.Generator().manual_seed(0)
    return iter([torch.rand(8, 3, 8, 8, generator=rng) for _ in range(4)])


def net() -> nn.Sequential:
    """Two convolutions with norms, and a classifier; the statistics are the data's."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 6, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(6),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    )  # fmt: skip
    for module in made:
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    made.train()
    with torch.no_grad():
        for batch in batches():
            made(batch)
    return made.eval()


def sidecars() -> nn.Sequential:
    """The same, with two channels of the first layer that are two others again."""
    made = net()
    with torch.no_grad():
        first, norm = made[0], made[1]
        assert isinstance(first, nn.Conv2d)
        first.weight[6:] = first.weight[:2]
        for name in ("weight", "bias", "running_mean", "running_var"):
            values = getattr(norm, name)
            values[6:] = values[:2]
    return made


def answers(made: nn.Module) -> Tensor:
    """Logits for every image."""
    with torch.no_grad():
        return torch.cat([made(batch) for batch in batches()])


def test_weights_fitted_anew_make_up_for_a_channel_that_had_a_twin() -> None:
    """Nothing is lost without it, so the error must all but vanish."""
    whole = sidecars()
    groups = groups_of(whole, size=8, name="net")
    first = next(i for i, g in enumerate(groups) if g.name == "0")
    chosen = {first: [6, 7]}
    bare, left = cut(whole, groups, chosen), kept_channels(whole, groups, chosen)

    made = reconstructed(bare, whole, left, batches)

    before = (answers(bare) - answers(whole)).abs().max()
    after = (answers(made) - answers(whole)).abs().max()
    assert after < 0.2 * before  # the ridge holds on to a little of the old weights


def test_the_criterion_that_looks_at_images_finds_the_twins() -> None:
    """One of each pair goes first, whatever the size of its weights."""
    whole = sidecars()
    groups = groups_of(whole, size=8, name="net")
    first = next(i for i, g in enumerate(groups) if g.name == "0")

    gone = least_missed(reconstruction_errors(whole, groups, batches)[first], 6)

    assert {unit % 6 for unit in gone} <= {0, 1}


@pytest.mark.parametrize(("layer", "quarter"), [("0", 2), ("3", 2)])
def test_the_units_of_a_trial_are_worth_what_the_answers_lose_with_them(
    layer: str, quarter: int
) -> None:
    """In nats, as a cut and its recovery show it, so that layers can be compared."""
    whole = net()
    with torch.no_grad():
        whole[8].weight *= 10  # answers so far apart that a quarter tells something
    groups = groups_of(whole, size=8, name="net")
    index = next(i for i, g in enumerate(groups) if g.name == layer)
    scores = reconstruction_errors(whole, groups, batches)[index]
    chosen = {index: least_missed(scores, len(scores) - quarter)}

    left = kept_channels(whole, groups, chosen)
    made = reconstructed(cut(whole, groups, chosen), whole, left, batches)

    before, after = answers(whole).log_softmax(1), answers(made).log_softmax(1)
    lost = (before.exp() * (before - after)).sum(1).mean()
    worth = scores.sort().values[:quarter].sum()
    # The ridge is a share of what is read, which is less after the cut.
    torch.testing.assert_close(worth, lost, rtol=0.05, atol=0.0)


def test_a_group_that_is_mostly_dead_is_worth_what_lives_in_it() -> None:
    """A trial that takes dead units alone says nothing of the others."""
    whole = net()
    with torch.no_grad():
        norm = whole[1]
        assert isinstance(norm, nn.BatchNorm2d)
        norm.weight[:5] = 0.0
        norm.bias[:5] = 0.0
    groups = groups_of(whole, size=8, name="net")
    first = next(i for i, g in enumerate(groups) if g.name == "0")

    scores = reconstruction_errors(whole, groups, batches)[first]

    assert scores[:5].max() < 0.1 * scores.max()
    assert scores.max() > 1e-4


def test_least_squares_agrees_with_lstsq() -> None:
    """Streamed normal equations of a strided convolution, against one big problem."""
    torch.manual_seed(1)
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    maps = torch.randn(40, 2, 9, 9)
    wanted = nn.Conv2d(2, 3, 3, stride=2, padding=1)(maps).detach() + 0.1
    problem = LeastSquares(layer)
    with torch.no_grad():
        for some in range(0, 40, 10):
            given, target = maps[some : some + 10], wanted[some : some + 10]
            problem.add(given, target, layer(given))
        weight, shift = problem.solution(shifted=True)
        layer.weight.copy_(weight.view_as(layer.weight))
        assert layer.bias is not None
        layer.bias += shift
        patches = nn.functional.unfold(maps, 3, padding=1, stride=2)

        rows = patches.permute(0, 2, 1).reshape(-1, 18)
        rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
        best = torch.linalg.lstsq(
            rows, wanted.flatten(2).permute(0, 2, 1).reshape(-1, 3)
        )

    # The ridge pulls by a hundredth towards the weights that were there.
    torch.testing.assert_close(weight, best.solution[:-1].T, atol=0.01, rtol=0.02)
    error = (layer(maps) - wanted).square().mean()
    assert error < 1e-3


def test_norms_are_given_the_statistics_of_what_they_see_now() -> None:
    """Where statistics were the data's, that is what training mode would gather."""
    whole = net()
    groups = groups_of(whole, size=8, name="net")
    first = next(i for i, g in enumerate(groups) if g.name == "0")
    chosen = {first: [1, 4]}
    bare, left = cut(whole, groups, chosen), kept_channels(whole, groups, chosen)
    expected = copy.deepcopy(bare)
    for module in expected.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    expected.train()
    with torch.no_grad():
        for batch in batches():
            expected(batch)

    made = renormalized(bare, whole, left, batches)

    for name, value in made.named_buffers():
        if name.endswith(("mean", "var")):
            torch.testing.assert_close(
                value, expected.get_buffer(name), rtol=0.05, atol=0.02
            )


def test_a_network_whose_norms_were_folded_keeps_its_outputs() -> None:
    """Statistics that are not the data's are no reason to normalize it now."""
    whole = net()
    with torch.no_grad():
        norm = whole[4]
        assert isinstance(norm, nn.BatchNorm2d)
        norm.running_mean.zero_()  # type: ignore[union-attr]
        norm.running_var.fill_(9.0)  # type: ignore[union-attr]

    made = renormalized(whole, whole, {}, batches)

    torch.testing.assert_close(answers(made), answers(whole), rtol=1e-3, atol=1e-4)
