"""Torch-Pruning behind one door: which channels of a network depend on which.

Its dependency graph (Fang et al. 2023) follows autograd's trace of one forward pass.
Cutting, scoring and choosing are ours, on the plain groups that come out here.
"""

import copy
import warnings
from collections.abc import Mapping

import torch
import torch_pruning
from torch import nn
from torch_pruning import ops
from torch_pruning.dependency import Node

from compress.models import meta
from compress.pruning.group import Group, Place, joined
from runtime.errors import InputRejectedError, one_line

# What a cut is defined for; a group that touches anything else is left whole.
_KNOWN = (
    nn.Conv2d,
    nn.Linear,
    nn.modules.batchnorm._BatchNorm,  # noqa: SLF001  # what all three have in common
    nn.LayerNorm,
    nn.PReLU,
    nn.Parameter,
)


def groups_of(net: nn.Module, *, size: int, name: str) -> list[Group]:
    """Every group of channels of `net` that may be cut, found on one random image.

    The answers themselves are never among them. Raises InputRejectedError that names
    the module where the network cannot be traced.
    """
    traced = copy.deepcopy(net).float().cpu().requires_grad_(True)
    graph = _Graph()
    with meta.located(traced) as culprit, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says what it guesses; `proved` checks it
        try:
            graph.build_dependency(
                traced,
                torch.randn(1, 3, size, size),
                forward_fn=lambda net, images: net(images),
                verbose=False,
            )
            found = [_plain(group, graph) for group in graph.get_all_groups()]
        except Exception as error:  # whatever the network raises, or the tracer
            raise InputRejectedError(
                f"prune: {name}: cannot be traced: {culprit()}: {one_line(error)}; "
                "give a network whose forward pass runs on one image and keeps to "
                "tensors"
            ) from error
    return list(joined([group for group in found if group is not None], traced))


class _Graph(torch_pruning.DependencyGraph):  # type: ignore[misc]  # has no types
    """The graph, for a torch that calls what it saved of a view by another name."""

    def _build_dependency(self, nodes: Mapping[object, Node]) -> None:
        """As ever, once the old name is back.

        Without it the sizes of splits and views are guessed, which fails where
        channels are shuffled.
        """
        for node in nodes.values():
            if hasattr(node.grad_fn, "_saved_self_sym_sizes"):
                node.grad_fn = _Saved(node.grad_fn)
        super()._build_dependency(nodes)


class _Saved:
    """A function of autograd's that still knows `_saved_self_sizes`."""

    def __init__(self, function: object) -> None:
        """`function` has `_saved_self_sym_sizes`."""
        self._function = function

    def __getattr__(self, name: str) -> object:
        """What the function has, and the one name that torch 2.13 changed."""
        renamed = {"_saved_self_sizes": "_saved_self_sym_sizes"}
        return getattr(self._function, renamed.get(name, name))


def _plain(group: torch_pruning.Group, graph: _Graph) -> Group | None:
    """A group as plain data; None where it must stay whole."""
    names: dict[object, str] = {m: path for path, m in graph.model.named_modules()}
    names |= {p: path for path, p in graph.model.named_parameters()}
    places: dict[Place, dict[int, list[int]]] = {}
    axis: dict[str, int] = {}
    for item in group:
        node, module = item.dep.target, item.dep.target.module
        out = graph.is_out_channel_pruning_fn(item.dep.handler)
        if node.type == ops.OPTYPE.OUTPUT or (out and not node.outputs):
            return None  # these channels are the answer
        if module not in names:  # an operator, which has no channels of its own
            continue
        if not isinstance(module, _KNOWN) or None in item.root_idxs:
            return None
        path = names[module]
        if isinstance(module, nn.Parameter):
            axis[path] = node.pruning_dim
        units = places.setdefault((path, "out" if out else "in"), {})
        for channel, unit in zip(item.idxs, item.root_idxs, strict=True):
            units.setdefault(unit, []).append(channel)
    count = 1 + max(unit for units in places.values() for unit in units)
    return Group(
        places={
            place: tuple(tuple(units.get(unit, ())) for unit in range(count))
            for place, units in places.items()
        },
        axis=axis,
    )
