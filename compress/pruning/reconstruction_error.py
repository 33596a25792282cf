"""A criterion that looks at images: what the next layers could not make up for.

Least squares tell the units of one group apart; a trial says what the group as a whole
is worth, so that units of any two groups can be compared.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from compress.context.progress import passed
from compress.pruning.budget import least_missed
from compress.pruning.cutting import Chosen, cut, kept_channels
from compress.pruning.group import Group
from compress.pruning.least_squares import LeastSquares, Reading, fits
from compress.pruning.recover import give_, running_order, takes_shift
from compress.quantization.output_sensitivity import evenly
from compress.training.losses import soft_target_loss
from compress.training.statistics import Batches

# Units that are taken away between two looks at what the others are worth, as a share
# of them: one by one for few, some at a time for a thousand.
_AT_ONCE: Final = 1 / 64
# A trial takes this share of a group, and twice as much until it tells something, in
# nats: most units may be dead, and say nothing of the others.
_TRIED: Final = 1 / 4
_TELLING: Final = 1e-4
# Images that trials are judged on, and how many are shown at once.
_JURY: Final = 128
_BATCH: Final = 16


def reconstruction_errors(
    net: nn.Module, groups: Sequence[Group], images: Batches
) -> list[Tensor]:
    """For every group, a score [units] each: how far its loss takes the answers away.

    Units are taken away in turn, each time the one whose loss the other weights of the
    layers that read it can best make up for; the share of those layers' variance that
    goes with it is what it is worth beside the others. So of two channels that say the
    same, one is worth nothing and the other all. Then a quarter of the group is cut
    for trial, its readers fitted, and the scores scaled so that those of the quarter
    add up to the divergence of the answers, in nats: the same variance is a trifle in
    one layer and half of the answer in another, and gradients foretell that badly (of
    errors that are alike at all positions, which an average at the end adds up).

    A group that is read by nothing that can be fitted (too wide, or not at all) is
    never to be cut: its units are worth infinity.
    """
    readers = _readers(net, groups, images)
    jury = torch.split(torch.cat(evenly(images, _JURY)), _BATCH)
    with torch.no_grad():
        said = torch.cat([net(batch) for batch in passed("judging", jury)])

        def lost(group: Group, units: list[int]) -> float:
            """How far the answers move without these units, in nats."""
            left = _fitted(net, group, {0: units}, readers, jury[0])
            answers = torch.cat([left(batch) for batch in jury])
            return float(soft_target_loss(answers, said, temperature=1.0))

        return [
            _tried(group, _of_group(group, readers), lost)
            for group in passed("what each group is worth", groups)
        ]


def _readers(
    net: nn.Module, groups: Sequence[Group], images: Batches
) -> dict[str, LeastSquares]:
    """The layers that read a group and can be fitted, by name, with all they saw."""
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
            for batch in passed("watching what layers read", images()):
                net(batch)
    finally:
        for handle in handles:
            handle.remove()
    return readers


def _tried(
    group: Group, scores: Tensor, lost: Callable[[Group, list[int]], float]
) -> Tensor:
    """`scores` [units] in nats, by a trial of the lowest of them."""
    most = group.units - 1
    if not most or not scores.isfinite().all():
        return scores
    few = max(1, round(_TRIED * group.units))
    while True:
        gone = lost(group, least_missed(scores, group.units - few))
        if gone >= _TELLING or few == most:
            break
        few = min(2 * few, most)
    expected = float(scores.sort().values[:few].sum())
    return scores * max(gone, 0.0) / max(expected, 1e-30)


def _fitted(
    net: nn.Module,
    group: Group,
    chosen: Chosen,
    readers: Mapping[str, LeastSquares],
    batch: Tensor,
) -> nn.Module:
    """`net` without the `chosen` units, those who read them fitted, each by itself."""
    made, left = cut(net, [group], chosen), kept_channels(net, [group], chosen)
    followers = running_order(made, batch)[1]
    for (name, side), channels in left.items():
        layer = made.get_submodule(name)
        if side == "in" and name in readers and fits(layer):
            norm = followers.get(name)
            shifted = takes_shift(layer, norm)
            found = readers[name].without_others(channels, shifted=shifted)
            give_(layer, norm, *found)
    return made


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
