"""A graph's integer weights and biases, in the form that litert-torch converts."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from export.qparams import Grid
from export.tflite import qdq
from runtime.errors import InputRejectedError

_LINEAR: Final = qdq.ATEN.linear.default


class Kept(NamedTuple):
    """A weight that stays float for the converter: steps [outputs, …] and scales."""

    steps: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]


def has_integers(graph: fx.GraphModule) -> bool:
    """Whether anything in the graph lies on a grid."""
    return any("quantized_decomposed" in str(node.target) for node in graph.graph.nodes)


def round_answer_(graph: fx.GraphModule, grid: Grid) -> None:
    """Put what the graph gives on a grid, so that the file's output can be int8."""
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    (answer,) = output.all_input_nodes
    with graph.graph.inserting_before(output):
        output.replace_input_with(answer, qdq.snapped(graph.graph, answer, grid))
    graph.recompile()


def float_constants_(graph: fx.GraphModule) -> list[Kept]:
    """Let weights and biases be float constants, and weights be quantized again.

    The converter takes no stored integers; from these it finds the same ones again, as
    the numbers lie on their grids. The weight of a linear layer with float sums stays
    float altogether; it is given back, so that the file can store its steps.
    """
    kept = []
    for node in list(graph.graph.nodes):
        if node.target is not qdq.dequantize_channels():
            continue
        stored, scale, zero, *rest = node.args
        steps, scales = (qdq.value_of(graph, each) for each in (stored, scale))
        shape = (-1, *([1] * (steps.dim() - 1)))
        # float32 steps x float32 scales, as the converter multiplies them.
        exact = steps.double() * scales.double().view(shape)
        with graph.graph.inserting_before(node):
            real = qdq.constant(graph, f"{stored.target}_real", exact.float())
            if steps.dtype == torch.int32:
                node.replace_all_uses_with(real)
            elif all(_has_float_sums(user) for user in node.users):
                node.replace_all_uses_with(real)
                kept.append(Kept(steps.numpy(), scales.float().numpy()))
            else:
                again = graph.graph.call_function(
                    qdq.quantize_channels(),  # type: ignore[arg-type]
                    (real, scale, zero, *rest),
                )
                node.replace_input_with(stored, again)
    return kept


def check_edges(graph: fx.GraphModule) -> None:
    """Refuse a tensor that goes from one grid to another without an operator between.

    litert-torch drops such a step without a word; the answers would be wrong.
    """
    for node in graph.graph.nodes:
        if node.target is not qdq.quantize():
            continue
        source = qdq.read_on(node.args[0])
        if source is not None and source != qdq.grid_of(node):
            raise InputRejectedError(
                f"export: {node.args[0].args[0].args[0]} would change from {source} to "
                f"{qdq.grid_of(node)} without an operator between, which TFLite's "
                "converter loses; give both the same grid"
            )


def _has_float_sums(node: fx.Node) -> bool:
    """Whether a weighted `node` gives real numbers that are not rounded to a grid."""
    return node.target is _LINEAR and not any(
        user.target is qdq.quantize() or _is_clamp(user) for user in node.users
    )


def _is_clamp(node: fx.Node) -> bool:
    """Whether `node` only saturates."""
    return node.target in {qdq.ATEN.relu.default, qdq.ATEN.hardtanh.default}
