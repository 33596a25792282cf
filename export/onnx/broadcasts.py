"""Expands that only spell out a broadcast, left to the operator that broadcasts."""

from typing import Final

import torch
from torch import Size, fx

ATEN: Final = torch.ops.aten
# Operators of two tensors that broadcast one to the other by themselves.
_BROADCASTING: Final = frozenset(
    {ATEN.mul.Tensor, ATEN.add.Tensor, ATEN.sub.Tensor, ATEN.div.Tensor}
)


def broadcasts_are_implied_(graph: fx.GraphModule) -> None:
    """Drop each expand beside a tensor of that shape, as gates by `expand_as` have.

    Kernels broadcast without it, and an expand is no INT8 operator: a gate would be
    computed in float, and the converter to TFLite keeps its axes where they are not.
    """
    for node in [n for n in graph.graph.nodes if n.target is ATEN.expand.default]:
        if all(_broadcasts(user, node) for user in node.users):
            node.replace_all_uses_with(node.args[0])


def _broadcasts(user: fx.Node, expanded: fx.Node) -> bool:
    """Whether `user` reads `expanded` beside another tensor of the same shape."""
    if user.target not in _BROADCASTING:
        return False
    wanted = _shape(expanded)
    others = [each for each in user.args[:2] if each is not expanded]
    return any(
        wanted is not None and isinstance(each, fx.Node) and _shape(each) == wanted
        for each in others
    )


def _shape(node: fx.Node) -> Size | None:
    """The shape of what a traced node gives; None: the trace did not say."""
    value = node.meta.get("val")
    return getattr(value, "shape", None)
