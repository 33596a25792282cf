"""What stays float in a Q/DQ graph, said in a way that TFLite's converter minds."""

from typing import Final

from torch import fx

from export.tflite import qdq
from export.tflite.qdq import ATEN

# Operators that LiteRT has integer kernels for, which round as ours do. The converter
# computes others in INT8, too, where they lie between integers: sums and products with
# float constants, averages over tokens or windows of different sizes, the greatest of
# an axis, what attention consists of; GELU by a table, and XNNPACK's leaky ReLU has a
# slope of 8 bits (24 dB left of Darknet's answers).
_INTEGER: Final = frozenset(
    {
        ATEN.conv2d.default,
        ATEN.linear.default,
        ATEN.relu.default,
        ATEN.hardtanh.default,
        ATEN.add.Tensor,
        ATEN.mul.Tensor,
        ATEN.hardsigmoid.default,
        ATEN.sigmoid.default,
        ATEN.adaptive_avg_pool2d.default,
        ATEN.max_pool2d.default,
        ATEN.cat.default,
        ATEN.pad.default,
        ATEN.constant_pad_nd.default,
        ATEN.reshape.default,
        ATEN.view.default,
        ATEN.flatten.using_ints,
        ATEN.squeeze.default,
        ATEN.squeeze.dim,
        ATEN.squeeze.dims,
        ATEN.unsqueeze.default,
        ATEN.select.int,
        ATEN.transpose.int,
        ATEN.permute.default,
        ATEN.slice.Tensor,
        ATEN.channel_shuffle.default,
        ATEN.upsample_nearest2d.vec,
        ATEN.upsample_bilinear2d.vec,
    }
)


def float_operators_are_marked_(graph: fx.GraphModule) -> None:
    """Put a floor and a ceiling, which have no INT8 kernel, before float operators.

    `no_ops.unmark_` takes both out of the file again.
    """
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or not _is_float(node):
            continue
        for source in node.all_input_nodes:
            if qdq.read_on(source) is None:
                continue
            with graph.graph.inserting_before(node):
                mark = graph.graph.call_function(ATEN.floor.default, (source,))
                mark = graph.graph.call_function(ATEN.ceil.default, (mark,))
            node.replace_input_with(source, mark)


def _is_float(node: fx.Node) -> bool:
    """Whether an operator that reads integers has no integer kernel to go with them."""
    if node.target in {qdq.quantize(), qdq.dequantize()}:
        return False
    if node.target not in _INTEGER:
        return True
    if node.target is ATEN.adaptive_avg_pool2d.default:
        return node.args[1] != [1, 1]
    return any(
        isinstance(each, fx.Node) and each.op == "get_attr" for each in node.args[:2]
    )


def numbers_are_read_once_(graph: fx.GraphModule) -> None:
    """Let everyone who reads a tensor dequantize it for himself; the file does it once.

    The converter's layout pass forgets the shape of what it turns for its first reader,
    and fails at the second.
    """
    for node in list(graph.graph.nodes):
        if node.target is not qdq.dequantize():
            continue
        for user in list(node.users)[1:]:
            with graph.graph.inserting_before(user):
                again = graph.graph.node_copy(node)
            user.replace_input_with(node, again)
