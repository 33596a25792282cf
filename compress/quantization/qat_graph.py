"""The graph that is trained on its grids, and what it starts with."""

import copy
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, fx

from compress.context.progress import passed
from compress.int8.capture import INPUT, refreshed_
from compress.int8.grids import Grid, Scheme
from compress.int8.operators import is_weighted
from compress.int8.plan import Plan
from compress.int8.rules import Range, swish_grids
from compress.int8.simulate import is_int8, snap_activations_
from compress.quantization.calibrate import Batches, Watch
from compress.quantization.fake_quantize import Pass, extremes
from compress.quantization.qat_layer import Unfolded, layer_of


def body_of(
    graph: fx.GraphModule,
    grids: Mapping[str, Grid],
    before: Mapping[str, Unfolded],
    *,
    learn_scales: bool,
) -> fx.GraphModule:
    """A graph of a `Pass` and an image: tensors rounded, layers as modules."""
    body = copy.deepcopy(graph)
    scheme = Scheme(activations=grids, weights={})
    # In the order of the graph, which is that of the parameters for the optimizer.
    int8 = {node: node.args[0] for node in body.graph.nodes if is_int8(node, scheme)}
    (image,) = (node for node in body.graph.nodes if node.op == "placeholder")
    with body.graph.inserting_before(image):
        now = body.graph.placeholder("now")

    def snap(into: fx.Graph, node: fx.Node, grid: Grid) -> fx.Node:
        del grid  # it is learnt
        return into.call_function(_round, (node, now, node.name))

    snap_activations_(body, scheme, int8.keys(), snap)
    for node, before_rounding in int8.items():
        if not is_weighted(node):
            continue
        name = node.name
        layer = layer_of(body, node, before, learn_scales=learn_scales)
        source = cast("fx.Node", before_rounding).name
        body.add_submodule(name, layer)
        with body.graph.inserting_before(node):
            made = body.graph.call_module(name, (node.args[0], now, source))
        node.replace_all_uses_with(made)
    refreshed_(body)
    return body.requires_grad_(True)


def first_ranges(
    graph: fx.GraphModule, plan: Plan, images: Batches
) -> dict[str, Range]:
    """The ranges of all groups that have no fixed grid, the mean over batches."""
    groups = {
        first: nodes for first, nodes in plan.groups.items() if first not in plan.fixed
    }
    seen: dict[str, list[Tensor]] = {
        node: [] for nodes in groups.values() for node in nodes
    }

    def show(node: str, values: Tensor) -> None:
        seen[node].append(extremes(values))

    watch = Watch(graph, {node: node for node in seen}, show)
    with torch.inference_mode():
        for batch in passed("measuring ranges", images()):
            watch.run(batch)
    means = {node: torch.stack(found).mean(dim=0) for node, found in seen.items()}
    found = {}
    for first, nodes in groups.items():
        low, high = joined([means[node] for node in nodes], torch.zeros(2)).tolist()
        found[first] = (low, high)
    return found


def joined(ranges: Sequence[Tensor], otherwise: Tensor) -> Tensor:
    """The range [2] that holds all `ranges`."""
    if not ranges:
        return otherwise
    both = torch.stack([*ranges])
    return torch.stack((both[:, 0].min(), both[:, 1].max()))


def of_input(plan: Plan) -> tuple[str, ...]:
    """The nodes on the grid of the input; none where it is read in float."""
    first = plan.first_of().get(INPUT)
    return () if first is None else plan.groups[first]


def shares_of_scales(
    graph: fx.GraphModule, plan: Plan, grids: Mapping[str, Grid]
) -> dict[str, int]:
    """Which learnt scale each node has a share in, numbered; the others are given.

    Tensors that meet in a sum share one. The input's scale avoids ties, those of
    h-swish are fractions of 3, and operators with fixed outputs have theirs.
    """
    given = {*of_input(plan), *swish_grids(graph, grids)}
    for first in plan.fixed:
        given.update(plan.groups[first])
    cluster_of = {first: min(cluster) for cluster in plan.sums for first in cluster}
    numbers: dict[tuple[str, float], int] = {}
    shares = {}
    for first, nodes in plan.groups.items():
        for node in nodes:
            if node not in given:
                key = (cluster_of.get(first, first), grids[node].scale)
                shares[node] = numbers.setdefault(key, len(numbers))
    return shares


def _round(values: Tensor, now: Pass, name: str) -> Tensor:
    """As a node of a graph."""
    return now.rounded(values, name)
