"""A network as a graph of plain operators, named after its layers, for any batch."""

import copy
import re
import warnings
from collections import Counter
from typing import Final

import torch
from torch import Tensor, fx, nn

from export.trace_errors import refusal
from runtime.errors import InputRejectedError

ATEN: Final = torch.ops.aten
INPUT: Final = "image"
_VIEWS: Final = frozenset(
    {
        ATEN.view.default,
        ATEN.reshape.default,
        ATEN._unsafe_view.default,  # noqa: SLF001  # torch's name for the same
    }
)


def captured(net: nn.Module, *, size: int, name: str) -> fx.GraphModule:
    """Trace `net`, a classifier of float32 [n, 3, size, size] images, in eval mode.

    The graph holds its own copies of the weights, no in-place operator, and takes any
    number of images. Its nodes are called after the layers they came from, so that the
    same network gives the same names. What cannot be traced is an InputRejectedError
    that names the line or the operator.
    """
    frozen = copy.deepcopy(net).cpu().float().eval().requires_grad_(False)
    images = torch.zeros(2, 3, size, size)
    axes = ({0: torch.export.Dim("batch", min=1)},)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(frozen, (images,), dynamic_shapes=axes)
            # An empty table takes nothing apart; it only makes the graph functional.
            graph = program.run_decompositions({}).module(check_guards=False)
    except Exception as error:  # torch.export passes on whatever the network raises
        raise InputRejectedError(refusal(error, name=name)) from error
    if not isinstance(graph, fx.GraphModule):  # pragma: no cover  # torch's promise
        raise TypeError(type(graph).__name__)
    plain = _own(graph)
    _for_any_batch_(plain)
    _rename_(plain)
    return plain


def parameter(graph: fx.GraphModule, node: fx.Node) -> Tensor:
    """The tensor that a `get_attr` node reads."""
    found = getattr(graph, str(node.target))
    if not isinstance(found, Tensor):
        raise TypeError(f"{node.target} is no tensor")
    return found


def add_parameter(
    graph: fx.GraphModule, before: fx.Node, name: str, value: Tensor
) -> fx.Node:
    """A new weight of the graph, read just before `before`."""
    free = _free(graph, name)
    graph.register_parameter(free, nn.Parameter(value, requires_grad=False))
    with graph.graph.inserting_before(before):
        return graph.graph.get_attr(free)


def add_buffer(
    graph: fx.GraphModule, before: fx.Node, name: str, value: Tensor
) -> fx.Node:
    """A new constant of the graph, read just before `before`."""
    free = _free(graph, name)
    graph.register_buffer(free, value)
    with graph.graph.inserting_before(before):
        return graph.graph.get_attr(free)


def _free(graph: fx.GraphModule, name: str) -> str:
    """A name like `name` that nothing in the graph has."""
    while hasattr(graph, name):
        name += "_"
    return name


def refreshed_(graph: fx.GraphModule) -> None:
    """Drop what nothing reads, check the rest, and make it callable."""
    graph.graph.eliminate_dead_code(
        is_impure_node=lambda node: node.op in {"placeholder", "output"}
    )
    graph.graph.lint()
    graph.recompile()
    read = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    for name in [*graph._parameters, *graph._buffers]:  # noqa: SLF001  # no other list keeps shared ones
        if name not in read:
            delattr(graph, name)


def _own(graph: fx.GraphModule) -> fx.GraphModule:
    """A graph of plain inputs and outputs, every tensor a parameter at the top."""
    root = nn.Module()
    seen: dict[str, str] = {}
    fresh = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module":  # torch's guards on shapes, which we promise
            continue
        if node.op == "get_attr":
            path = str(node.target)
            if path not in seen:
                seen[path] = re.sub(r"\W", "_", path)
                tensor = _tensor(graph, path).detach().clone()
                root.register_parameter(
                    seen[path], nn.Parameter(tensor, requires_grad=False)
                ) if tensor.is_floating_point() else root.register_buffer(
                    seen[path], tensor
                )
            made[node] = fresh.get_attr(seen[path])
            continue
        if node.op == "output":
            value = node.args[0]
            while isinstance(value, tuple | list):
                (value,) = value
            fresh.output(made[value])
            continue
        made[node] = fresh.node_copy(node, lambda old: made[old])
    return fx.GraphModule(root, fresh)


def _tensor(graph: fx.GraphModule, path: str) -> Tensor:
    """What lies at a dotted path."""
    found: object = graph
    for part in path.split("."):
        found = getattr(found, part)
    if not isinstance(found, Tensor):
        raise TypeError(f"{path} is no tensor")
    return found


def _for_any_batch_(graph: fx.GraphModule) -> None:
    """Let views infer the number of images instead of asking for it."""
    for node in graph.graph.nodes:
        if node.target in _VIEWS:
            source, shape = node.args
            asked = [size for size in shape if isinstance(size, fx.Node)]
            if len(asked) == 1 and -1 not in shape:
                shape = [-1 if isinstance(size, fx.Node) else size for size in shape]
                node.args = (source, shape)
            node.target = ATEN.reshape.default
    refreshed_(graph)


def _rename_(graph: fx.GraphModule) -> None:
    """Call each node after its layer, and number those of one layer."""
    taken: Counter[str] = Counter()
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            node.target = INPUT
            node._rename(INPUT)  # noqa: SLF001  # as below
        if node.op != "call_function":
            continue
        stem = _layer(node) or operator_of(node)
        taken[stem] += 1
        free = stem if taken[stem] == 1 else f"{stem}__{taken[stem]}"
        node._rename(free)  # noqa: SLF001  # a plain assignment would bypass fx's names
    graph.recompile()


def operator_of(node: fx.Node) -> str:
    """The bare name of what a node calls, such as `conv2d` or `getitem`."""
    return str(getattr(node.target, "__name__", node.target)).split(".")[0]


def _layer(node: fx.Node) -> str:
    """The path of the innermost module that `node` came from."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()]
    return re.sub(r"\W", "_", paths[-1]) if paths and paths[-1] else ""
