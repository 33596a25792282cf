"""Which operators read a tensor in INT8 where kernels go on in float behind sums.

TensorRT fuses a convolution with what follows it, in float, and rounds what the next
INT8 kernel reads. So Q and DQ stand before weighted operators, around global averages,
on every input and the output of a concatenation, and on the skip of a residual sum,
never between a convolution and its sum, its clamp or its gate (TensorRT Developer
Guide, "Q/DQ Layer-Placement Recommendations"; TensorRT #1992, #3270, #4366).
"""

from collections.abc import Container, Mapping
from typing import Final

from torch import fx

from compress.int8.capture import ATEN
from compress.int8.operators import inputs_of, is_weighted, rule_of

_MEAN: Final = ATEN.adaptive_avg_pool2d.default
_CONCAT: Final = ATEN.cat.default
_SUM: Final = ATEN.add.Tensor
# What is rounded on both of its sides.
_AROUND: Final[frozenset[object]] = frozenset({_MEAN, _CONCAT})


def int8_readers(
    graph: fx.GraphModule, *, grids: Container[str], left_float: Container[str]
) -> Mapping[fx.Node, tuple[fx.Node, ...]]:
    """The tensors of a canonical `graph` that are read in INT8, and who reads them so.

    grids: nodes that have one; left_float: operators that stay float.
    """
    found = {}
    for node in graph.graph.nodes:
        if node.name not in grids:
            continue
        readers = tuple(
            user for user in node.users if _reads_int8(user, node, left_float)
        )
        if readers:
            found[node] = readers
    return found


def _reads_int8(user: fx.Node, node: fx.Node, left_float: Container[str]) -> bool:
    """Whether `user` reads `node` in INT8."""
    if user.op == "output":
        return False
    if _runs_int8(node, left_float) and node.target in _AROUND:
        return True
    rule = rule_of(user)
    if rule is None or not _runs_int8(user, left_float):
        return False
    if rule.weights or user.target in _AROUND:
        return node in inputs_of(user, rule)
    return user.target is _SUM and _is_skip(user, node, left_float)


def _is_skip(total: fx.Node, node: fx.Node, left_float: Container[str]) -> bool:
    """Whether `node` is the operand that a convolution adds to its own sums.

    Of two convolutions that could perform the sum the later one does.
    """
    able = [
        each
        for each in total.all_input_nodes
        if is_weighted(each) and len(each.users) == 1 and _runs_int8(each, left_float)
    ]
    return bool(able) and node is not max(able)


def _runs_int8(node: fx.Node, left_float: Container[str]) -> bool:
    """Whether the table knows `node` in INT8 and nobody left it in float."""
    return rule_of(node) is not None and node.name not in left_float
