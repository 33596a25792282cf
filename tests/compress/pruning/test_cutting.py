"""A cut network computes what the whole one does with those channels zero."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compress.evaluation.costs import count_macs, count_params
from compress.models.surgery.differences import widths_between
from compress.models.surgery.rebuild import rebuilt
from compress.models.surgery.record import Surgery
from compress.pruning.cutting import cut, kept_channels, silenced
from compress.pruning.graph import groups_of
from compress.pruning.group import Group
from compress.pruning.group_check import proved
from compress.pruning.layout import Layout
from runtime.errors import InputRejectedError

SIZE = 16


def conv(inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> nn.Module:
    """A convolution, its norm, a ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    """Two branches that are added, so that their channels go together."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = conv(8, 8), conv(8, 8)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.two(self.one(maps))


class SqueezeExcite(nn.Module):
    """Channels that are scaled by what all of them say."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, maps: Tensor) -> Tensor:
        gate = self.expand(self.reduce(maps.mean((2, 3), keepdim=True)).relu())
        return maps * gate.sigmoid()


class Dense(nn.Module):
    """Maps that are put side by side, and read together."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = conv(8, 4), conv(12, 4)
        self.norm = nn.BatchNorm2d(16)

    def forward(self, maps: Tensor) -> Tensor:
        maps = torch.cat([maps, self.one(maps)], 1)
        return self.norm(torch.cat([maps, self.two(maps)], 1))


class Shuffle(nn.Module):
    """Half of the channels is worked on, then both halves are mixed."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(conv(4, 4, 1), conv(4, 4, groups=4), conv(4, 4, 1))

    def forward(self, maps: Tensor) -> Tensor:
        one, two = maps.chunk(2, 1)
        maps = torch.cat([one, self.branch(two)], 1)
        mixed = maps.view(len(maps), 2, 4, SIZE, SIZE).transpose(1, 2).contiguous()
        return mixed.view(len(maps), -1, SIZE, SIZE)


class Scaled(nn.Module):
    """A free parameter, one a channel, as ConvNeXt's layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(8))

    def forward(self, maps: Tensor) -> Tensor:
        return maps * self.gamma.reshape(1, -1, 1, 1)


def net_of(middle: Callable[[], nn.Module], *, width: int = 8) -> nn.Module:
    """A classifier of four classes around `middle`, its weights drawn."""
    torch.manual_seed(0)
    layers = (conv(3, 8), middle(), conv(width, 8), nn.AdaptiveAvgPool2d(2))
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 4)).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
    return net


NETS = {
    "plain": lambda: net_of(lambda: conv(8, 8)),
    "residual": lambda: net_of(Residual),
    "squeeze-and-excite": lambda: net_of(SqueezeExcite),
    "depthwise": lambda: net_of(lambda: conv(8, 8, groups=8)),
    "widening depthwise": lambda: net_of(lambda: conv(8, 16, groups=8), width=16),
    "grouped": lambda: net_of(lambda: conv(8, 16, groups=4), width=16),
    "concatenation": lambda: net_of(Dense, width=16),
    "shuffle": lambda: net_of(Shuffle),
    "free parameter": lambda: net_of(Scaled),
    "prelu": lambda: net_of(lambda: nn.PReLU(8)),
}


def halves(groups: tuple[Group, ...]) -> dict[int, list[int]]:
    """Every second unit of every group."""
    return {i: list(range(0, g.units, 2)) for i, g in enumerate(groups)}


def groups(net: nn.Module) -> tuple[Group, ...]:
    """What may be cut from it."""
    return proved(net, groups_of(net, size=SIZE, name="net"), size=SIZE).groups


@pytest.mark.parametrize("name", NETS)
def test_a_cut_network_answers_as_one_whose_channels_are_zero(name: str) -> None:
    """The oracle: the weights of those channels set to zero, everything still there."""
    net = NETS[name]()
    found = groups(net)
    chosen = halves(found)
    images = torch.randn(3, 3, SIZE, SIZE)

    thinner = cut(net, found, chosen)

    with torch.no_grad():
        torch.testing.assert_close(
            thinner(images), silenced(net, found, chosen)(images), rtol=1e-4, atol=1e-5
        )
    assert count_params(thinner) < count_params(net)


@pytest.mark.parametrize("name", NETS)
def test_what_a_cut_costs_is_known_before_it_is_made(name: str) -> None:
    """MACs, parameters and bytes by the widths, against counting the cut network."""
    net = NETS[name]()
    found = groups(net)
    chosen = halves(found)
    kept = [group.units - len(chosen[i]) for i, group in enumerate(found)]
    layout = Layout(net, found, size=SIZE)

    thinner = cut(net, found, chosen)

    numbers = sum(t.numel() for t in (*thinner.parameters(), *thinner.buffers()))
    assert layout.macs(kept) == count_macs(thinner, size=SIZE)
    assert layout.params(kept) == count_params(thinner)
    assert layout.bytes(kept) == 4 * numbers
    for layer in layout.layers(kept):
        module = thinner.get_submodule(layer.name)
        weights = sum(p.numel() for p in module.parameters())
        assert layer.weights == weights, layer


@pytest.mark.parametrize("name", NETS)
def test_a_cut_network_is_rebuilt_from_its_record(name: str) -> None:
    """Shapes and numbers of channels follow from the record, weights from a file."""
    net = NETS[name]()
    found = groups(net)
    thinner = cut(net, found, halves(found))
    images = torch.randn(1, 3, SIZE, SIZE)

    again = rebuilt(net, Surgery(widths=widths_between(net, thinner)))
    again.load_state_dict(thinner.state_dict())

    with torch.no_grad():
        assert torch.equal(again(images), thinner(images))


def test_a_grouped_layer_loses_whole_groups() -> None:
    """What comes in and what goes out are one unit: 2 inputs and 4 outputs each."""
    net = NETS["grouped"]()
    (group,) = [g for g in groups(net) if "1.0" in {name for name, _ in g.places}]

    thinner = cut(net, [group], {0: [1]})
    layer = thinner.get_submodule("1.0")

    assert (group.units, group.unit_channels) == (4, 4)
    assert (layer.in_channels, layer.out_channels, layer.groups) == (6, 12, 3)


def test_the_answers_are_never_cut() -> None:
    net = NETS["plain"]()
    assert all(("6", "out") not in group.places for group in groups(net))
    assert any(("6", "in") not in group.places for group in groups(net))


def test_a_flattened_map_goes_with_its_channel() -> None:
    """Four numbers of the linear layer for every channel of the 2x2 map before it."""
    net = NETS["plain"]()
    (group,) = [g for g in groups(net) if ("5", "in") in g.places]

    assert group.places["5", "in"][1] == (4, 5, 6, 7)


def test_a_group_that_was_traced_wrongly_is_left_whole() -> None:
    """As if the tracer had taken the neighbor's channels for a layer's own."""
    net = NETS["plain"]()
    right = groups(net)[0]
    name = next(place for place in right.places if place[1] == "in")
    shifted = (*right.places[name][1:], right.places[name][0])
    wrong = Group(places={**right.places, name: shifted}, axis=right.axis)

    found = proved(net, [wrong, *groups(net)[1:]], size=SIZE)

    assert found.left_whole == (wrong.name,)
    assert len(found.groups) == len(groups(net)) - 1


def test_a_network_that_cannot_be_traced_names_the_module() -> None:
    class Odd(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            return maps[:, :, torch.ones(99, dtype=torch.bool)]

    with pytest.raises(InputRejectedError, match=r"prune: net: cannot be traced: 1: "):
        groups_of(net_of(Odd), size=SIZE, name="net")


def test_channels_that_are_left_are_named_by_their_old_numbers() -> None:
    net = NETS["plain"]()
    found = groups(net)
    first = next(i for i, group in enumerate(found) if group.name == "0.0")
    before = copy.deepcopy(net.state_dict())

    left = kept_channels(net, found, {first: [0, 3]})

    assert left["0.0", "out"].tolist() == [1, 2, 4, 5, 6, 7]
    assert left["1.0", "in"].tolist() == [1, 2, 4, 5, 6, 7]
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
