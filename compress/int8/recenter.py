"""Zero points moved into biases, where what reads a tensor pads nothing.

A grid about 0 wastes its negative half on what a clamp leaves positive. Shifted by
itself, as a part of the bias before the clamp and of the clamp's ends, the tensor lies
about 0, and the biases of what reads it make up for the shift: the same function, on
all 256 steps. Not where a convolution pads, as it reads 0 instead at an edge. (The
inverse of bias absorption, Nagel et al. 2019, section 4.1.3.)
"""

import copy
from typing import cast

import torch
from torch import fx

from compress.int8.biases import give_bias_
from compress.int8.capture import ATEN, parameter, refreshed_
from compress.int8.fused import geometry_of
from compress.int8.grids import Scheme, snapped_weight
from compress.int8.operators import bias_of, is_weighted, weight_of
from compress.int8.simulate import is_int8
from export.qparams import Grid


def recentered(
    graph: fx.GraphModule, scheme: Scheme
) -> tuple[fx.GraphModule, dict[str, float]]:
    """A copy of a canonical `graph` that computes the same, and the steps it is for.

    Those are the steps of `scheme`, by node, of the tensors that lie about 0 now.
    """
    made = copy.deepcopy(graph)
    scales: dict[str, float] = {}
    for node in list(made.graph.nodes):
        grid = scheme.activations.get(node.name)
        if grid is not None and _can_move(node, scheme):
            _move_(made, node, grid, scheme)
            scales[node.name] = grid.scale
    refreshed_(made)
    return made, scales


def _can_move(node: fx.Node, scheme: Scheme) -> bool:
    """Whether `node` clamps sums, for weighted operators without padding alone.

    A clamp with one end stays what it is: a ReLU is what every runtime fuses best.
    """
    if node.target is not ATEN.hardtanh.default or not node.users:
        return False
    source = cast("fx.Node", node.args[0])
    if not is_weighted(source) or len(source.users) > 1:
        return False
    return all(
        is_weighted(user)
        and is_int8(user, scheme)
        and user.args[0] is node
        and not _pads(user)
        for user in node.users
    )


def _pads(node: fx.Node) -> bool:
    """Whether a weighted operator reads zeros around its input."""
    if node.target is ATEN.linear.default:
        return False
    return any(geometry_of(node)[1])


def _move_(graph: fx.GraphModule, node: fx.Node, grid: Grid, scheme: Scheme) -> None:
    """Shift what `node` gives by its zero point, and let its readers make up for it."""
    shift = -grid.zero_point * grid.scale
    source, low, high = node.args
    node.args = (source, cast("float", low) - shift, cast("float", high) - shift)
    _add_(graph, cast("fx.Node", source), torch.tensor(-shift, dtype=torch.float64))
    for reader in list(node.users):
        weight = parameter(graph, weight_of(reader))
        scales = scheme.weights[str(weight_of(reader).target)]
        sums = snapped_weight(weight, scales).double().flatten(1).sum(dim=1)
        _add_(graph, reader, shift * sums)


def _add_(graph: fx.GraphModule, node: fx.Node, more: torch.Tensor) -> None:
    """Add to the bias of a weighted node, which may have had none."""
    old = bias_of(node)
    outputs = len(parameter(graph, weight_of(node)))
    before = torch.zeros(outputs) if old is None else parameter(graph, old)
    give_bias_(graph, node, (before.detach().double() + more).float())
