"""Rounding of weights learned from images: errors that cancel instead of adding up.

What matters is the error of an operator's sums, a quadratic form of the weights' errors
whose matrix is the inputs' second moments (Nagel et al. 2020, AdaRound). Weights are
rounded one input after the other, and those that are still free move to make up for the
error so far (Frantar et al. 2023, GPTQ): the same aim, without an optimizer.
"""

import copy
from collections.abc import Mapping
from typing import Final, cast

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, fx

from compress.context.progress import passed
from compress.int8.capture import ATEN, parameter, refreshed_
from compress.int8.grids import WEIGHT_HIGH, Scheme, snapped_weight
from compress.int8.operators import weight_of, weighted
from compress.int8.simulate import is_int8
from compress.quantization.calibrate import Batches, Watch

# Matrices beyond this many inputs would take more memory than they are worth.
WIDEST: Final = 2400
# Keeps the matrix regular; a share of its mean diagonal.
_RIDGE: Final = 0.01


def with_learned_rounding(
    graph: fx.GraphModule, scheme: Scheme, images: Batches
) -> fx.GraphModule:
    """A copy of `graph` whose INT8 weights lie on their grids, rounded with care.

    No output's error on `images` is greater than nearest rounding would make it.
    """
    made = copy.deepcopy(graph)
    nodes = [node for node in weighted(made) if is_int8(node, scheme)]
    moments = _moments(made, nodes, images)
    for node in passed("learning how to round weights", nodes):
        old = weight_of(node)
        if node.name in moments:
            values = parameter(made, old)
            rounded = rounded_weight(
                values, scheme.weights[str(old.target)], moments[node.name]
            )
            with torch.no_grad():
                values.copy_(rounded)
    refreshed_(made)
    return made


def rounded_weight(weight: Tensor, scales: Tensor, moments: Tensor) -> Tensor:
    """Weights [outputs, …] on the grid of `scales`, of little error in the sums.

    moments: sums of products of inputs, [groups, inputs, inputs].
    """
    groups = len(moments)
    rows = weight.detach().reshape(groups, -1, moments.shape[1]).double()
    steps = scales.double().view(groups, -1)
    nearest = snapped_weight(weight, scales).reshape(rows.shape).double()
    size = moments.shape[1]
    ridge = _RIDGE * moments.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
    matrix = moments.double() + ridge[:, None, None] * torch.eye(size).double()
    # Upper triangle of the inverse: how a rounded input's error moves the free ones.
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
    spread = torch.linalg.cholesky(inverse, upper=True)
    free, chosen = rows.clone(), torch.empty_like(rows)
    alive = rows != 0  # the others are masked, and a mask outlives quantization
    for i in range(size):
        whole = torch.round(free[:, :, i] / steps).clamp(-WEIGHT_HIGH, WEIGHT_HIGH)
        chosen[:, :, i] = whole * steps * alive[:, :, i]
        lost = (free[:, :, i] - chosen[:, :, i]) / spread[:, i, i, None]
        free[:, :, i:] -= lost[:, :, None] * spread[:, None, i, i:]
    worse = _error(chosen - rows, moments) > _error(nearest - rows, moments)
    return torch.where(worse[:, :, None], nearest, chosen).reshape(weight.shape).float()


def _error(error: Tensor, moments: Tensor) -> Tensor:
    """Squared errors of sums [groups, outputs]. error: [groups, outputs, inputs]."""
    return ((error @ moments.double()) * error).sum(dim=2)


def _moments(
    graph: fx.GraphModule, nodes: list[fx.Node], images: Batches
) -> Mapping[str, Tensor]:
    """Sums of products of the inputs of weighted nodes, [groups, inputs, inputs]."""
    readers: dict[str, list[fx.Node]] = {}
    for node in nodes:
        if parameter(graph, weight_of(node))[0].numel() <= WIDEST:
            readers.setdefault(cast("fx.Node", node.args[0]).name, []).append(node)
    found: dict[str, Tensor] = {}

    def show(source: str, values: Tensor) -> None:
        for node in readers[source]:
            columns = _columns(graph, node, values)
            products = columns @ columns.transpose(1, 2)
            before = found.get(node.name)
            found[node.name] = products if before is None else before.add_(products)

    watch = Watch(graph, {name: name for name in readers}, show)
    with torch.inference_mode():
        for batch in passed("moments of what weights read", images()):
            watch.run(batch)
    return {name: total.clone() for name, total in found.items()}


def _columns(graph: fx.GraphModule, node: fx.Node, values: Tensor) -> Tensor:
    """What each output is a weighted sum of, [groups, inputs, places]."""
    if node.target is ATEN.linear.default:
        return values.reshape(-1, values.shape[-1]).T[None]
    kernel = parameter(graph, weight_of(node)).shape[2:]
    plain: list[object] = [[1, 1], [0, 0], [1, 1], 1]
    given = cast("list[object]", list(node.args[3:]))
    *axes, groups = [*given, *plain[len(given) :]]
    stride, padding, dilation = (tuple(cast("list[int]", each)) for each in axes)
    groups = cast("int", groups)
    patches = F.unfold(values, kernel, dilation, padding, stride)
    n, inputs, places = patches.shape
    split = patches.reshape(n, groups, inputs // groups, places)
    return split.permute(1, 2, 0, 3).reshape(groups, inputs // groups, n * places)
