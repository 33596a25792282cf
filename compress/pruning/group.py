"""Channels that can only go together: plain data, whatever traced them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

Side = Literal["out", "in"]
# The channels of one place: a module's outputs or inputs (a norm's are outputs), or
# those of a parameter that belongs to no such module.
Place = tuple[str, Side]


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
    parent = {atom: atom for atom in atoms}

    def root(atom: tuple[int, int]) -> tuple[int, int]:
        while parent[atom] != atom:
            parent[atom] = atom = parent[parent[atom]]
        return atom

    for name, layer in net.named_modules():
        if not isinstance(layer, nn.Conv2d) or layer.groups == 1:
            continue
        sizes = {"out": layer.out_channels, "in": layer.in_channels}
        first: dict[int, tuple[int, int]] = {}
        for g, group in enumerate(groups):
            for place, of_unit in group.places.items():
                if place[0] != name:
                    continue
                share = sizes[place[1]] // layer.groups
                for unit, channels in enumerate(of_unit):
                    for channel in channels:
                        other = first.setdefault(channel // share, (g, unit))
                        parent[root((g, unit))] = root(other)
    sets: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for atom in atoms:
        sets[root(atom)].append(atom)
    # Groups that share a unit are one group now.
    family = {g: g for g in range(len(groups))}
    for members in sets.values():
        merged = {family[g] for g, _ in members}
        family = {g: min(merged) if f in merged else f for g, f in family.items()}
    for leader in sorted(set(family.values())):
        yield _merged(
            [members for members in sets.values() if family[members[0][0]] == leader],
            groups,
        )


def _merged(units: Sequence[Sequence[tuple[int, int]]], groups: Sequence[Group]) -> Group:
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
