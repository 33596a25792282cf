"""Symmetric INT8 grids, chosen anew for runtimes that know no zero points (TensorRT).

The weights and biases of a quantized network stay what they are; its activations are
calibrated once more, for steps about 0 and for the tensors that fused kernels read.
"""

from collections.abc import Collection, Container, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

import torch
from torch import Tensor, fx

from compress.int8.calibrate import Batches, Seen, seen_ranges
from compress.int8.fused import is_depthwise
from compress.int8.grids import HIGH, Grid, Scheme, float32
from compress.int8.influence import ENDS, LEAST, Influence, influences
from compress.int8.plan import Plan, planned
from compress.int8.ptq import FOR_INFLUENCE
from compress.int8.reads import int8_readers
from compress.int8.recenter import recentered
from compress.int8.simulate import QuantizedNet
from compress.report.records import inner, number, sentences
from runtime.errors import InputRejectedError

# The least magnitude that a grid spans; it must not divide by nothing.
_LEAST_END: Final = 1e-6
# A tensor that does more than this share of all harm, as the first depthwise layer of a
# MobileNet reads it (30 %), is worth a float layer of a hundredth of the MACs.
_HARM: Final = 0.15


class _End(NamedTuple):
    """Where a grid about 0 ends, and what rounding to it does to the answer."""

    end: float
    effect: float


def symmetric(net: QuantizedNet, images: Batches) -> QuantizedNet:
    """`net` with grids about 0, of the least effect on the answer.

    images: float32 [n, 3, size, size] batches, the same ones each time it is called.
    """
    graph, kept = recentered(net.graph, net.scheme)
    plan = _read(graph, net.scheme, kept)
    seen = seen_ranges(graph, plan, images, histograms=False)
    ends = {first: _ends(one) for first, one in seen.items()}
    by_node = {node: ends[first] for first in ends for node in plan.groups[first]}
    found = influences(
        graph,
        by_node,
        images,
        most=FOR_INFLUENCE,
        weights=False,
        title="weighing symmetric ranges by their effect",
    )
    chosen = {
        first: _chosen(
            [found.tensors[node] for node in nodes if node in found.tensors],
            largest=max(-seen[first].low, seen[first].high),
            whole=not plan.logits.isdisjoint(nodes),
        )
        for first, nodes in plan.groups.items()
    }
    scales = {
        node: _scale(chosen[first].end)
        for first, nodes in plan.groups.items()
        for node in nodes
    }
    effects = {plan.groups[first][0]: each.effect for first, each in chosen.items()}
    left = harmed(graph, net.scheme, effects)
    return on_grids(net, kept | scales, left_float=left)


def mirrored(net: QuantizedNet) -> QuantizedNet:
    """`net` with grids about 0 that hold what its own grids held: without images."""
    graph, kept = recentered(net.graph, net.scheme)
    plan = _read(graph, net.scheme, kept)
    grids = net.scheme.activations
    ends = {
        first: max(
            max(-grids[node].low, grids[node].high) for node in nodes if node in grids
        )
        for first, nodes in plan.groups.items()
    }
    scales = {
        node: _scale(ends[first]) for first in ends for node in plan.groups[first]
    }
    return on_grids(net, kept | scales)


def on_grids(
    net: QuantizedNet,
    scales: Mapping[str, float],
    *,
    left_float: Collection[str] = (),
) -> QuantizedNet:
    """`net` with grids about 0 of known steps, by node, as a report keeps them.

    left_float: operators that stay float besides those of `net`.
    """
    graph, _ = recentered(net.graph, net.scheme)
    left = net.scheme.left_float | frozenset(left_float)
    readers = int8_readers(graph, grids=scales, left_float=left)
    return QuantizedNet(
        graph,
        replace(
            net.scheme,
            activations={node.name: Grid(scales[node.name], 0) for node in readers},
            left_float=left,
            rounding="on_read",
            logits=None,
        ),
    )


def grids_of(net: QuantizedNet) -> Mapping[str, object] | None:
    """The grids of `net` as a report keeps them; None where they are not about 0."""
    if net.scheme.rounding != "on_read":
        return None
    return {
        "scales": {name: grid.scale for name, grid in net.scheme.activations.items()},
        "left_float": sorted(net.scheme.left_float),
    }


def on_grids_of(net: QuantizedNet, record: Mapping[str, object]) -> QuantizedNet:
    """`net` on grids that `grids_of` wrote down; as it is where there are none.

    Steps that are no positive numbers are an InputRejectedError.
    """
    if not record:
        return net
    found = inner(record, "scales")
    scales = {name: number(found, name) or 0.0 for name in found}
    if not all(0 < scale < float("inf") for scale in scales.values()):
        raise InputRejectedError(
            "grids: the report holds a step that is no positive number; make the run "
            "again"
        )
    return on_grids(net, scales, left_float=sentences(record, "left_float"))


def harmed(
    graph: fx.GraphModule, scheme: Scheme, effects: Mapping[str, float]
) -> frozenset[str]:
    """Depthwise operators that had better read float numbers: few MACs, less harm.

    effects: what rounding tensors does to the answer, by node.
    """
    readers = int8_readers(graph, grids=effects, left_float=scheme.left_float)
    most = _HARM * sum(effects.values())
    return frozenset(
        user.name
        for node, users in readers.items()
        if effects[node.name] > most
        and all(is_depthwise(graph, each) for each in users)
        for user in users
    )


def _scale(end: float) -> float:
    """The step of the grid that spans [-end, end]."""
    return float32(max(end, _LEAST_END) / HIGH)


def _read(graph: fx.GraphModule, scheme: Scheme, kept: Container[str]) -> Plan:
    """The plan of a graph, of what INT8 kernels read alone; no grid is fixed.

    kept: tensors whose grids are known.
    """
    plan = planned(graph)
    known = plan.first_of().keys()
    readers = int8_readers(graph, grids=known, left_float=scheme.left_float)
    read = {node.name for node in readers if node.name not in kept}
    groups = {
        first: tuple(node for node in nodes if node in read)
        for first, nodes in plan.groups.items()
        if not read.isdisjoint(nodes)
    }
    return replace(plan, groups=groups, fixed={}, sums=())


def _ends(seen: Seen) -> tuple[Tensor, Tensor]:
    """Candidates for both ends of a range about 0, from the inside out, [ENDS] each.

    Where nothing is negative, nothing is cut below.
    """
    usual = max(-seen.low_sum, seen.high_sum) / seen.images
    greatest = max(-seen.low, seen.high, 1e-9)
    inner = LEAST * min(max(usual, 1e-9), greatest)
    steps = torch.linspace(0, 1, ENDS, dtype=torch.float64)
    ends = inner * (greatest / inner) ** steps
    return -ends if seen.low < 0 else 0 * ends, ends if seen.high > 0 else 0 * ends


def _chosen(members: list[Influence], *, largest: float, whole: bool) -> _End:
    """The end of the least effect on the answer; whole: nothing may be cut."""
    if not members:
        return _End(largest, 0.0)
    ends = torch.maximum(members[0].high, -members[0].low)
    cut = torch.stack([each.cutting().diagonal() for each in members]).sum(dim=0)
    slopes = sum(float(each.gradients.sum()) / each.images for each in members)
    cost = slopes * (ends / HIGH) ** 2 / 12 + cut
    best = len(ends) - 1 if whole else int(cost.argmin())
    return _End(largest if whole else float(ends[best]), float(cost[best]))
