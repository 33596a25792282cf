"""Biases of weighted operators: given, and moved on where a filter gives nothing else.

A filter of zeros (masked, pruned to nothing, dead since the training) whose bias lives
on gives one number everywhere. Rounded to a grid that number would be wrong by the same
part of a step in every place and image, which no mean takes out again; as a part of the
biases that read it, it is exact to an int32 step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, cast

import torch
from torch import Tensor, fx

from compress.int8.capture import ATEN, add_parameter, parameter
from compress.int8.operators import bias_of, is_weighted, weight_of, weighted

# Beside the largest weight of a layer; a filter of such weights is as good as none.
_NOTHING: Final = 1e-6
# Of what weighted operators read and give: features, or maps of channels.
_AXES: Final[Mapping[object, int]] = {ATEN.linear.default: 2, ATEN.conv2d.default: 4}
# What gives one number for maps of one number.
_KEEPS: Final = frozenset(
    {
        *(ATEN.relu.default, ATEN.hardtanh.default),
        *(ATEN.adaptive_avg_pool2d.default, ATEN.flatten.using_ints),
        *(ATEN.reshape.default, ATEN.squeeze.dims),
    }
)


def give_bias_(graph: fx.GraphModule, node: fx.Node, values: Tensor) -> None:
    """Let a weighted node add `values` [outputs] instead of its bias, if it had one."""
    old = bias_of(node)
    name = f"{weight_of(node).target}_bias" if old is None else str(old.target)
    fresh = add_parameter(graph, node, name, values)
    node.args = (*node.args[:2], fresh, *node.args[3:])


def dead_filters_move_on_(graph: fx.GraphModule) -> None:
    """Let the biases behind a filter of zeros add what it always gives.

    Then it gives 0, which is on every grid, and what weighs it has no part in a scale.
    Not where a convolution pads, as it reads zeros instead at an edge, nor where
    anything else reads it, such as a sum.
    """
    for node in weighted(graph):
        bias = bias_of(node)
        dead = _dead(parameter(graph, weight_of(node)))
        readers = list(_readers(node)) if bias is not None and dead.any() else []
        if bias is None or not readers or None in readers:
            continue
        before = parameter(graph, bias)
        left = torch.where(dead, 0.0, before)
        found = [
            _Dead.of(node, path, reader, (before, left, dead))
            for path, reader in filter(None, readers)
        ]
        if None in found:
            continue
        for each in filter(None, found):
            each.leave_out_(graph)
        give_bias_(graph, node, left)


class _Dead(NamedTuple):
    """What dead filters give to a reader: more than they are to, and through which."""

    reader: fx.Node
    given: Tensor  # one image of it
    inputs: Tensor  # likewise, not 0 where it comes from a dead filter

    @classmethod
    def of(
        cls,
        node: fx.Node,
        path: Sequence[fx.Node],
        reader: fx.Node,
        constants: tuple[Tensor, Tensor, Tensor],
    ) -> "_Dead | None":
        """From the biases of `node` as they are and are to be, and which are dead.

        None where something reads them as anything but features, or maps of channels,
        or where 0 does not stay 0.
        """
        shape = node.meta["val"].shape if "val" in node.meta else ()
        if len(shape) != _AXES[node.target]:
            return None
        now, then, dead = (
            _through(path, each.double(), shape[2:]) for each in constants
        )
        if now.dim() != _AXES[reader.target] or bool((then * dead).any()):
            return None
        return cls(reader, now - then, dead)

    def leave_out_(self, graph: fx.GraphModule) -> None:
        """Let the reader's bias add what is given, and its weights read nothing."""
        reader, old = self.reader, bias_of(self.reader)
        weight = parameter(graph, weight_of(reader))
        call = cast("Callable[..., Tensor]", reader.target)
        sums = call(self.given, weight.double(), None, *reader.args[3:])
        more = sums.reshape(*sums.shape[:2], -1)[0, :, 0].float()
        give_bias_(graph, reader, more if old is None else parameter(graph, old) + more)
        inputs = self.inputs.reshape(*self.inputs.shape[:2], -1)[0, :, 0] != 0
        if weight.shape[1] != len(inputs):
            return  # each group reads but some
        shape = (1, -1, *([1] * (weight.dim() - 2)))
        alive = torch.where(inputs.view(shape), 0.0, weight)
        name = str(weight_of(reader).target)
        reader.replace_input_with(
            weight_of(reader), add_parameter(graph, reader, name, alive)
        )


def _through(path: Sequence[fx.Node], values: Tensor, sides: Sequence[int]) -> Tensor:
    """What a map of one number a channel [channels] becomes, of one image."""
    found = values.view(1, -1, *([1] * len(sides))).expand(1, -1, *sides)
    for step in path:
        found = cast("Callable[..., Tensor]", step.target)(found, *step.args[1:])
    return found


def _dead(weight: Tensor) -> Tensor:
    """Which outputs [outputs] have no weight to speak of."""
    largest = weight.flatten(1).abs().amax(dim=1)
    return largest <= _NOTHING * largest.max()


def _readers(
    node: fx.Node, path: tuple[fx.Node, ...] = ()
) -> Iterator[tuple[list[fx.Node], fx.Node] | None]:
    """The weighted operators behind `node`, each with what lies between; else None."""
    for user in node.users:
        if is_weighted(user) and user.args[0] is node:
            padding = user.args[4] if len(user.args) > 4 else [0]  # noqa: PLR2004  # input, weight, bias, stride
            plain = user.target is ATEN.linear.default or not any(
                cast("list[int]", padding)
            )
            yield ([*path], user) if plain else None
        elif user.target in _KEEPS:
            yield from _readers(user, (*path, user))
        else:
            yield None
