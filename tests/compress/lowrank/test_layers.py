"""Layers that can be split, their products, and the fit of these to images."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from compress.lowrank.layers import Split, kind_of, spectra_of, splittable
from compress.lowrank.moments import Moments, moments_of
from compress.lowrank.responses import refitted_, rows_of, shapes_of
from compress.models.surgery.record import Factorized
from runtime.errors import RecipeError


class Net(nn.Module):
    """A spatial, a 1x1 and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.point = nn.Conv2d(12, 10, 1, stride=2)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(160, 6))

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.stem(images))
        found: Tensor = self.head(torch.relu(self.point(maps)))
        return found


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval().requires_grad_(requires_grad=False)


def images() -> Iterator[Tensor]:
    """Two batches of images that are far from white noise."""
    chance = torch.Generator().manual_seed(1)
    for count in (16, 9):
        coarse = torch.randn(count, 3, 2, 2, generator=chance)
        yield nn.functional.interpolate(coarse, size=(8, 8), mode="bilinear")


def seen_by(net: nn.Module, name: str) -> tuple[Tensor, Tensor]:
    """What a layer is given and gives on all images, by running its network."""
    kept: list[tuple[Tensor, Tensor]] = []
    layer = net.get_submodule(name)
    hook = layer.register_forward_hook(
        lambda _, given, found: kept.append((given[0], found))
    )
    for batch in images():
        net(batch)
    hook.remove()
    given, found = (torch.cat(each) for each in zip(*kept, strict=True))
    return given, found


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.Linear(3, 4), "linear"),
        (nn.Conv2d(3, 4, 1), "conv1x1"),
        (nn.Conv2d(3, 4, 1, stride=2), "conv1x1"),
        (nn.Conv2d(3, 4, 3), "tucker2"),
        (nn.Conv2d(3, 4, (1, 5)), "tucker2"),
        (nn.Conv2d(4, 4, 3, groups=2), None),
        (nn.Conv2d(3, 4, 1, padding=1), None),
        (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), None),
        (nn.BatchNorm2d(3), None),
    ],
)
def test_what_can_be_split(layer: nn.Module, kind: str | None) -> None:
    assert kind_of(layer) == kind


def test_layers_are_named_by_themselves_or_by_what_holds_them(net: nn.Module) -> None:
    assert list(splittable(net, ())) == ["stem", "point", "head.1"]
    assert list(splittable(net, ("head", "stem"))) == ["stem", "head.1"]
    with pytest.raises(
        RecipeError,
        match=r"'head.0' is, or holds, no layer .* known: stem, point, head.1",
    ):
        splittable(net, ("stem", "head.0"))


def test_a_strided_layer_is_given_the_shapes_of_its_network(net: nn.Module) -> None:
    shapes = shapes_of(net, splittable(net, ()), size=8)
    assert shapes == {
        "stem": (1, 3, 8, 8),
        "point": (1, 12, 8, 8),
        "head.1": (1, 160),
    }


def test_moments_of_responses_are_those_of_all_images_and_places(
    net: nn.Module,
) -> None:
    """Against one matrix of all, its mean gone; four images' worth is the weights'."""
    layers = splittable(net, ())

    found = moments_of(net, layers, images)

    for name, layer in layers.items():
        given, responses = seen_by(net, name)
        rows = rows_of(layer, responses).double()
        rows -= rows.mean(dim=0)
        weight = layer.weight.flatten(1).double()
        white = weight @ weight.T * given.double().square().mean()
        expected = (25 * rows.T @ rows / len(rows) + 4 * white) / 29
        torch.testing.assert_close(
            found[name].responses.double(), expected, rtol=1e-3, atol=1e-5
        )


def test_at_the_answers_errors_weigh_what_fisher_says(net: nn.Module) -> None:
    """Against diag(p) - p p^T, the mean over many draws; a tenth of it is any way's."""
    shown = torch.cat([*images()]).repeat(200, 1, 1, 1)
    with torch.no_grad():
        said = (3 * net(shown)).softmax(dim=1)
    net.head[1].weight *= 3
    net.head[1].bias *= 3

    found = moments_of(net, {"head.1": net.head[1]}, lambda: shown.split(500))

    fisher = torch.diag(said.mean(dim=0)) - said.T @ said / len(said)
    expected = fisher / fisher.diagonal().mean() + 0.1 * torch.eye(6)
    torch.testing.assert_close(found["head.1"].weights, expected, rtol=0.1, atol=0.05)


def test_what_nothing_reads_weighs_next_to_nothing() -> None:
    """ReLU writes over what the layer gave, which does not hide its gradients."""
    torch.manual_seed(0)
    first, last = nn.Linear(192, 10), nn.Linear(10, 6)
    with torch.no_grad():
        last.weight[:, 3] = 0
    net = nn.Sequential(nn.Flatten(), first, nn.ReLU(inplace=True), last)

    weights = moments_of(net, {"1": first}, images)["1"].weights

    assert weights is not None
    assert weights[3].tolist() == pytest.approx([0, 0, 0, 0.1, 0, 0, 0, 0, 0, 0])
    assert float(weights.trace()) == pytest.approx(10 * 1.1)


def test_no_errors_are_weighed_where_they_may_add_up(net: nn.Module) -> None:
    found = moments_of(net, splittable(net, ()), images)
    assert [name for name, each in found.items() if each.weights is None] == [
        "stem",
        "point",
    ]


def test_a_layer_that_no_answer_hangs_on_is_weighed_like_any() -> None:
    torch.manual_seed(0)
    idle, last = nn.Linear(192, 5), nn.Linear(192, 6)
    net = nn.Sequential(nn.Flatten(), last)
    net.add_module("idle", idle)
    net.forward = lambda batch: (  # type: ignore[method-assign]
        idle(batch.flatten(1)),
        last(batch.flatten(1)),
    )[1]
    assert moments_of(net, {"idle": idle}, images)["idle"].weights is None


def split_of(name: str, layer: nn.Module, found: Moments) -> Split:
    """A layer with what its ranks are chosen by."""
    return spectra_of(name, layer, found.responses, found.weights)


@pytest.mark.parametrize("name", ["stem", "point", "head.1"])
def test_at_full_rank_nothing_changes(net: nn.Module, name: str) -> None:
    layers = splittable(net, (name,))
    split = split_of(name, layers[name], moments_of(net, layers, images)[name])
    made = copy.deepcopy(net)

    made.set_submodule(name, split.made(split.ranked(1.0, multiple=1)))

    batch = next(images())
    torch.testing.assert_close(made(batch), net(batch), atol=1e-4, rtol=1e-4)


def test_ranks_go_up_to_a_multiple_but_not_beyond_the_channels() -> None:
    split = spectra_of("a", nn.Conv2d(12, 20, 3), torch.eye(20))
    assert split.ranked(1e-6, multiple=8).ranks == (8, 8)
    assert split.ranked(1.0, multiple=8).ranks == (12, 20)
    assert spectra_of("b", nn.Linear(6, 30), torch.eye(30)).ranked(
        1.0, multiple=8
    ).ranks == (6,)


def halved(net: nn.Module, *names: str) -> tuple[nn.Module, list[Split]]:
    """A copy of `net` in which layers are products of few channels."""
    made, splits = copy.deepcopy(net), []
    layers = splittable(net, names)
    moments = moments_of(net, layers, images)
    for name, layer in layers.items():
        split = split_of(name, layer, moments[name])
        ranks = (2, 4) if split.kind == "tucker2" else (3,)
        made.set_submodule(name, split.made(Factorized(kind=split.kind, ranks=ranks)))
        splits.append(split)
    return made.requires_grad_(requires_grad=False), splits


def test_a_fit_is_the_least_squares_solution(net: nn.Module) -> None:
    """Against torch's solver on the matrix of all places; the pull is a thousandth."""
    made, _ = halved(net, "point")
    given, _ = seen_by(made, "point.1")
    _, wanted = seen_by(net, "point")

    refitted_(made, net, ("point",), images)

    rows = rows_of(net.point, given).double()
    rows = torch.cat([rows, torch.ones(len(rows), 1).double()], dim=1)
    best = torch.linalg.lstsq(rows, rows_of(net.point, wanted).double()).solution.T
    last = made.get_submodule("point")[1]
    fitted = torch.cat([last.weight.flatten(1), last.bias[:, None]], dim=1).double()
    target = rows_of(net.point, wanted).double()
    residual = ((rows @ fitted.T - target) ** 2).sum()
    least = ((rows @ best.T - target) ** 2).sum()
    assert residual <= 1.01 * least


def test_fits_bring_the_answers_of_all_layers_together_closer(net: nn.Module) -> None:
    made, _ = halved(net)
    before = _distance(made, net)

    refitted_(made, net, ("stem", "point", "head.1"), images)

    assert _distance(made, net) < 0.8 * before


def _distance(made: nn.Module, net: nn.Module) -> float:
    """How far answers on the images are apart."""
    return sum(float((made(batch) - net(batch)).norm()) for batch in images())
