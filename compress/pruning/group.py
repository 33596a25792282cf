"""Channels that can only go together: plain data, whatever traced them."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import nn

Side = Literal["out", "in"]
# The channels of one place: a module's outputs or inputs (a norm's are outputs), or
# those of a parameter that belongs to no such module.
Place = tuple[str, Side]
# A unit by the place of its group in a list of groups, and its own in the group.
_Atom = tuple[int, int]
_Thing = TypeVar("_Thing", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Units that can be cut one by one, each with its channels wherever they appear.

    places: for every place, the channels of each unit, in the order of the units; axis:
    of free parameters, by name, the one that holds the channels.
    """

    places: Mapping[Place, tuple[tuple[int, ...], ...]]
    axis: Mapping[str, int]

    @property
    def name(self) -> str:
        """The layer that gives these channels first."""
        return next(name for name, side in self.places if side == "out")

    @property
    def units(self) -> int:
        """How many there are."""
        return len(next(iter(self.places.values())))

    @property
    def unit_channels(self) -> int:
        """Channels of one unit where they come from: above 1 for grouped layers."""
        return len(self.places[self.name, "out"][0])

    def channels(self, place: Place, units: Sequence[int]) -> list[int]:
        """The channels that `units` have at `place`, sorted."""
        of_unit = self.places[place]
        return sorted(channel for unit in units for channel in of_unit[unit])


def joined(groups: Sequence[Group], net: nn.Module) -> Iterator[Group]:
    """`groups`, with the units joined that share a group of a grouped convolution.

    Such a layer loses whole groups, outputs and inputs, so that those left stay equal:
    what comes in and what goes out of one then are units of one group.
    """
    atoms = [(g, unit) for g, group in enumerate(groups) for unit in range(group.units)]
    units = _together(atoms, _ties(groups, net))
    # Groups that share a unit are one group now.
    shared = ((unit[0][0], other[0]) for unit in units for other in unit)
    for family in _together(range(len(groups)), shared):
        members = set(family)
        yield _merged([unit for unit in units if unit[0][0] in members], groups)


def _ties(groups: Sequence[Group], net: nn.Module) -> Iterator[tuple[_Atom, _Atom]]:
    """Pairs of units that have channels in one group of one convolution."""
    grouped = {
        name: layer
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.groups > 1
    }
    first: dict[tuple[str, int], _Atom] = {}
    for g, group in enumerate(groups):
        for (name, side), of_unit in group.places.items():
            if name not in grouped:
                continue
            layer = grouped[name]
            channels = layer.out_channels if side == "out" else layer.in_channels
            share = channels // layer.groups
            for unit, of_this in enumerate(of_unit):
                for channel in of_this:
                    yield (
                        (g, unit),
                        first.setdefault((name, channel // share), (g, unit)),
                    )


def _together(
    things: Iterable[_Thing], ties: Iterable[tuple[_Thing, _Thing]]
) -> list[list[_Thing]]:
    """`things` in sets, so that what is tied, however indirectly, is in one of them."""
    parent = {thing: thing for thing in things}

    def root(thing: _Thing) -> _Thing:
        while parent[thing] != thing:
            parent[thing] = thing = parent[parent[thing]]
        return thing

    for one, other in ties:
        parent[root(one)] = root(other)
    sets: dict[_Thing, list[_Thing]] = defaultdict(list)
    for thing in parent:
        sets[root(thing)].append(thing)
    return list(sets.values())


def _merged(units: Sequence[Sequence[_Atom]], groups: Sequence[Group]) -> Group:
    """One group of these units, each made of units of `groups`."""
    involved = sorted({g for unit in units for g, _ in unit})
    places: dict[Place, list[set[int]]] = {}
    axis: dict[str, int] = {}
    for g in involved:
        axis |= groups[g].axis
        for place in groups[g].places:
            places.setdefault(place, [set() for _ in units])
    for number, unit in enumerate(units):
        for g, old in unit:
            for place, of_unit in groups[g].places.items():
                places[place][number].update(of_unit[old])
    return Group(
        places={
            place: tuple(tuple(sorted(channels)) for channels in of_unit)
            for place, of_unit in places.items()
        },
        axis=axis,
    )
