"""A quantized network as tensors and a record, rebuilt on its architecture's own graph.

Nothing of the graph is stored: it is traced anew from the network, and what was decided
about each node (weight, bias, scales, grid) is put back by the node's name.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, fx, nn

from compress.int8.biases import give_bias_
from compress.int8.canonicalize import canonical_
from compress.int8.capture import add_parameter, captured, parameter, refreshed_
from compress.int8.grids import HIGH, LOW, Grid, Scheme
from compress.int8.operators import bias_of, weight_of, weighted
from compress.int8.simulate import QuantizedNet
from compress.models.record import Int8Record
from runtime.errors import InputRejectedError, one_line

Record = Mapping[str, object]


def tensors_of(net: QuantizedNet) -> dict[str, Tensor]:
    """Every number that was decided: NODE.weight, NODE.bias, NODE.scales, grids.

    And constant.NAME, what operators read that stay float, such as a layer norm.
    """
    found: dict[str, Tensor] = {}
    for node in weighted(net.graph):
        name = str(weight_of(node).target)
        found[f"{node.name}.weight"] = parameter(net.graph, weight_of(node))
        bias = bias_of(node)
        if bias is not None:
            found[f"{node.name}.bias"] = parameter(net.graph, bias)
        if name in net.scheme.weights:
            found[f"{node.name}.scales"] = net.scheme.weights[name]
    for name, value in _constants(net.graph).items():
        found[f"constant.{name}"] = value
    grids = net.scheme.activations.values()
    found["activations.scale"] = torch.tensor(
        [grid.scale for grid in grids], dtype=torch.float32
    )
    found["activations.zero_point"] = torch.tensor(
        [grid.zero_point for grid in grids], dtype=torch.int32
    )
    return {
        name: tensor.detach().contiguous().clone() for name, tensor in found.items()
    }


def record_of(net: QuantizedNet) -> Record:
    """The names that go with `tensors_of`."""
    return {
        "activations": list(net.scheme.activations),
        "left_float": sorted(net.scheme.left_float),
        "logits": None if net.scheme.logits is None else list(net.scheme.logits),
    }


def rebuilt(
    skeleton: nn.Module,
    record: Int8Record,
    tensors: Mapping[str, Tensor],
    *,
    size: int,
    name: str,
) -> QuantizedNet:
    """The network that `tensors_of` and `record_of` describe, on `skeleton`'s graph."""
    graph = captured(skeleton, size=size, name=name)
    canonical_(graph)
    try:
        for constant, value in _constants(graph).items():
            value.copy_(_of_shape(tensors, f"constant.{constant}", value.shape))
        weights = {}
        for node in weighted(graph):
            scales = tensors.get(f"{node.name}.scales")
            _fill_(graph, node, tensors)
            if scales is not None:
                weights[str(weight_of(node).target)] = _positive(scales, node.name)
        grids = zip(
            tensors["activations.scale"].tolist(),
            tensors["activations.zero_point"].tolist(),
            strict=True,
        )
        made = (_grid(scale, zero_point) for scale, zero_point in grids)
        activations = dict(zip(record.activations, made, strict=True))
        left = frozenset(record.left_float)
        logits = None if record.logits is None else Grid(*record.logits)
        refreshed_(graph)
        _check_known(graph, activations)
        scheme = Scheme(
            activations=activations, weights=weights, left_float=left, logits=logits
        )
        return QuantizedNet(graph, scheme)
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise InputRejectedError(
            f"{name}: the saved INT8 model does not fit the network it names "
            f"({one_line(error)}); it was written with another version of torch, timm "
            "or edgepress: quantize again"
        ) from error


def _check_known(graph: fx.GraphModule, names: Iterable[str]) -> None:
    """Refuse grids of tensors that the network has not."""
    known = {node.name for node in graph.graph.nodes}
    for stranger in (each for each in names if each not in known):
        raise ValueError(f"it has no tensor {stranger!r}")


def _positive(scales: Tensor, name: str) -> Tensor:
    """Scales [outputs] that are some."""
    if scales.dim() != 1 or not bool(((scales > 0) & scales.isfinite()).all()):
        raise ValueError(f"{name}: scales that are no positive numbers")
    return scales


def _grid(scale: float, zero_point: int) -> Grid:
    """A grid that is one."""
    if not 0 < scale < float("inf") or not LOW <= zero_point <= HIGH:
        raise ValueError(f"no grid has scale {scale} and zero point {zero_point}")
    return Grid(scale, zero_point)


def _constants(graph: fx.GraphModule) -> dict[str, Tensor]:
    """What float operators read of the graph itself, by name."""
    known = {
        each
        for node in weighted(graph)
        for each in (weight_of(node), bias_of(node))
        if each is not None
    }
    return {
        str(node.target): parameter(graph, node)
        for node in graph.graph.nodes
        if node.op == "get_attr" and node not in known
    }


def _of_shape(tensors: Mapping[str, Tensor], name: str, shape: torch.Size) -> Tensor:
    """The tensor of that name; one of another shape is a ValueError."""
    found = tensors[name]
    if found.shape != shape:
        raise ValueError(f"{name} of shape {list(found.shape)}")
    return found


def _fill_(graph: fx.GraphModule, node: fx.Node, tensors: Mapping[str, Tensor]) -> None:
    """Give a weighted node its weight and bias; each node gets its own."""
    old = weight_of(node)
    shape = parameter(graph, old).shape
    weight = _of_shape(tensors, f"{node.name}.weight", shape)
    node.replace_input_with(old, add_parameter(graph, node, str(old.target), weight))
    bias = tensors.get(f"{node.name}.bias")
    if bias is None:
        return
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"{node.name}: bias of shape {list(bias.shape)}")
    give_bias_(graph, node, bias)
