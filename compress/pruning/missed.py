"""A criterion that looks at images: what the next layers could not make up for."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from compress.pruning.group import Group
from compress.pruning.least_squares import LeastSquares, Reading, fits
from compress.pruning.recover import Batches

# Units that are taken away between two looks at what the others are worth, as a share
# of them: one by one for few, some at a time for a thousand.
_AT_ONCE = 1 / 64


def missed(net: nn.Module, groups: Sequence[Group], images: Batches) -> list[Tensor]:
    """For every group, a score [units] each: what is lost of the next layers' outputs.

    Units are taken away in turn, each time the one whose loss the other weights of the
    layers that read it can best make up for; its score is the share of their variance
    that goes with it. So of two channels that say the same, one is worth nothing and
    the other all. One pass over `images`. A group that is read by nothing that can be
    fitted (too wide, or not at all) is never to be cut: its units are worth infinity.
    """
    readers: dict[str, LeastSquares] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
            readers[name].add(given[0], answer, answer)

        return hook

    handles = []
    for name in {name for g in groups for name, side in g.places if side == "in"}:
        layer = net.get_submodule(name)
        if fits(layer):
            readers[name] = LeastSquares(layer)
            handles.append(layer.register_forward_hook(watch(name)))
    try:
        with torch.no_grad():
            for batch in images():
                net(batch)
    finally:
        for handle in handles:
            handle.remove()
    with torch.no_grad():
        return [_of_group(group, readers) for group in groups]


def _of_group(group: Group, readers: Mapping[str, LeastSquares]) -> Tensor:
    """What all readers of a group would miss of each unit, in the order they go."""
    reading: list[tuple[Reading, Sequence[Sequence[int]]]] = [
        (readers[name].reading(), of_unit)
        for (name, side), of_unit in group.places.items()
        if side == "in" and name in readers
    ]
    if not reading:
        return torch.full((group.units,), torch.inf)
    found = torch.zeros(group.units)
    there = list(range(group.units))
    worst = 0.0
    while there:
        costs = torch.zeros(len(there), dtype=torch.float64)
        for each, of_unit in reading:
            costs += each.costs([of_unit[unit] for unit in there])
        order = costs.argsort()[: max(1, int(group.units * _AT_ONCE))].tolist()
        for place in order:
            # Later ones are worth no less: what is left depends on all that went.
            worst = max(worst, float(costs[place]))
            found[there[place]] = worst
            for each, of_unit in reading:
                each.remove_(of_unit[there[place]])
        there = [unit for place, unit in enumerate(there) if place not in set(order)]
    return found
