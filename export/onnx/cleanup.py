"""An exported graph made fit to ship: readable names, no scraps, no traces.

torch leaves the stack trace of every operator in the file (with paths of the machine
that made it) and numbers values by counters; here a node is called after the layer it
came from, and the same network gives the same bytes wherever and whenever.
"""

import ast
from collections import Counter
from typing import Final

import onnx_ir as ir
from onnx_ir.passes.common import (
    ClearMetadataAndDocStringPass,
    IdentityEliminationPass,
    LiftConstantsToInitializersPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
)

from export.onnx.lowering.padding import pads_join_convolutions_

_SCOPES: Final = "pkg.torch.onnx.name_scopes"
# The third input of these operators is the bias; folding a BatchNorm makes a new one.
_BIAS: Final = 2
_WITH_BIAS: Final = ("Conv", "ConvTranspose", "Gemm")


def tidy_(model: ir.Model, *, name: str, weights: frozenset[str]) -> None:
    """Rename and clean `model` in place; `weights` are names that must stay."""
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    IdentityEliminationPass()(model)
    pads_join_convolutions_(model.graph)
    RemoveUnusedNodesPass()(model)
    RemoveUnusedOpsetsPass()(model)
    _name_nodes(model.graph, weights)
    _name_weights(model.graph, weights)
    _plain_reshapes(model.graph)
    _order_weights(model.graph)
    ClearMetadataAndDocStringPass()(model)
    model.graph.name = name
    model.metadata_props.clear()
    model.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.metadata_props.clear()
        value.doc_string = None
        if value.shape is not None and not isinstance(value.shape[0], int):
            value.shape = ir.Shape(["batch", *value.shape[1:]])


def _layer(node: ir.Node, weights: frozenset[str]) -> str:
    """Find the layer that `node` came from: the one whose weights it reads, if any."""
    for value in node.inputs:
        if value is not None and value.name in weights:
            return str(value.name).rpartition(".")[0]
    scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
    # The last scope is the operator itself, the first the whole network.
    return str(scopes[-2]) if len(scopes) > 1 else ""


def _name_nodes(graph: ir.Graph, weights: frozenset[str]) -> None:
    """Call every node LAYER/OPERATOR and its results after it."""
    kept = {value.name for value in (*graph.inputs, *graph.outputs)}
    taken: Counter[str] = Counter()
    for node in ir.traversal.RecursiveGraphIterator(graph):
        stem = "/".join(part for part in (_layer(node, weights), node.op_type) if part)
        taken[stem] += 1
        node.name = stem if taken[stem] == 1 else f"{stem}_{taken[stem]}"
        for place, value in enumerate(node.outputs):
            if value.name not in kept:
                value.name = node.name if place == 0 else f"{node.name}:{place}"


def _name_weights(graph: ir.Graph, weights: frozenset[str]) -> None:
    """Call a number that is no parameter after the first node that reads it."""
    for value in list(graph.initializers.values()):
        if value.name in weights:
            continue
        node, place = next(iter(value.uses()))
        if place == _BIAS and node.op_type in _WITH_BIAS:
            layer = _layer(node, weights)
            bias = f"{layer}.bias" if layer else f"{node.name}.bias"
            if bias not in graph.initializers:
                value.name = bias
                continue
        value.name = f"{node.name}.{place}"


def _plain_reshapes(graph: ir.Graph) -> None:
    """Drop `allowzero`, which TensorRT does not know, where no axis is 0 anyway."""
    for node in ir.traversal.RecursiveGraphIterator(graph):
        shape = node.inputs[1] if node.op_type == "Reshape" else None
        if shape is None or shape.const_value is None:
            continue
        if 0 not in shape.const_value.numpy():
            node.attributes.pop("allowzero", None)


def _order_weights(graph: ir.Graph) -> None:
    """Keep weights in the order in which they are read; drop what nobody reads."""
    used: dict[str, ir.Value] = {}
    for node in ir.traversal.RecursiveGraphIterator(graph):
        for value in node.inputs:
            if value is not None and value.name in graph.initializers:
                used[str(value.name)] = value
    graph.initializers.clear()
    for value in used.values():
        graph.initializers.add(value)
