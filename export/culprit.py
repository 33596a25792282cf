"""Which layer and operator a converter stumbled over, read off its complaint."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, fx, nn

from runtime.quiet import silence

# How exporters and converters say which operator they were at; the first that is found.
_NAMING: Final = (
    re.compile(r"OpOverload\(op='(?P<operator>[^']+)'"),
    re.compile(r"Lowering not found: (?P<operator>aten\.\w+)"),
    re.compile(
        r"While executing %(?P<node>\w+) .*?target=torch\.ops\.(?P<operator>\w+\.\w+)"
    ),
    re.compile(r"to convert non-NHWC compatible node to NHWC: (?P<node>\w+)"),
)
_CONVOLUTION: Final = re.compile(
    r"failed to legalize operation '\w+\.convolution'.*?"
    r"lhs_dilation = dense<\[?(?P<spread>[^>\]]+)"
)
_LEGALIZED: Final = re.compile(r"failed to legalize operation '(?P<operator>[^']+)'")
_TRANSPOSED: Final = ("aten.conv_transpose1d", "aten.conv_transpose2d")
# conv_transpose2d's arguments after input, weight, bias, and what most networks give.
_USUAL: Final = {5: ("output_padding", 0), 6: ("groups", 1), 7: ("dilation", 1)}


@dataclass(frozen=True, kw_only=True)
class Culprit:
    """A layer by its path, and the operator, such as `aten.cummax`; None: unknown."""

    layer: str | None = None
    operator: str | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to say."""
        return bool(self.layer or self.operator)

    def __str__(self) -> str:
        """Name them, for a sentence that says `because of …`."""
        if not self.layer:
            return f"the operator {self.operator}" if self.operator else ""
        return f"layer {self.layer}" + (f" ({self.operator})" if self.operator else "")


def culprit(text: str, net: nn.Module | None, image: Tensor) -> Culprit:
    """Whom `text`, an exporter's complaint about `net`, blames.

    The network is traced once more for `image`, since complaints name operators, or
    what became of them, and only a trace knows which layer that was.
    """
    calls = [] if net is None else list(_calls(net, image))
    if (found := _CONVOLUTION.search(text)) and found["spread"].strip("1, "):
        return _transposed(calls)
    for pattern in _NAMING:
        if match := pattern.search(text):
            said = match.groupdict()
            return _named(calls, said.get("operator"), said.get("node"))
    if match := _LEGALIZED.search(text):
        return Culprit(operator=match["operator"])
    return Culprit()


@dataclass(frozen=True, kw_only=True)
class _Call:
    """A call of an operator: its name in the trace, and the layer that makes it."""

    node: str
    operator: str
    layer: str | None
    args: tuple[object, ...]


def _calls(net: nn.Module, image: Tensor) -> Iterator[_Call]:
    """Every operator of `net` in order; none where it cannot be traced."""
    try:
        with silence(1, 2), torch.no_grad():
            program = torch.export.export(net, (image,))
            apart = program.run_decompositions()
    except Exception:  # noqa: BLE001  # then its own complaint says more than we could
        return
    traced = _in(program.graph)
    own = _in(net.graph) if isinstance(net, fx.GraphModule) else []
    # A graph of operators is traced one by one, in order, under the names it has.
    layers = [_layer_in(node) for node in own] if len(own) == len(traced) else None
    for place, node in enumerate(traced):
        yield _Call(
            node=node.name,
            operator=_operator(node),
            layer=layers[place] if layers else _path(node),
            args=node.args,
        )
    # What the operators above consist of, should one of those be named.
    for node in _in(apart.graph):
        yield _Call(
            node="", operator=_operator(node), layer=_path(node), args=node.args
        )


def _in(graph: fx.Graph) -> list[fx.Node]:
    """The calls of a graph, in order."""
    return [node for node in graph.nodes if node.op == "call_function"]


def _layer_in(node: fx.Node) -> str:
    """The name of a graph's node, or of what reads it if it only changes numbers."""
    while "quantize" in _operator(node) and node.users:
        node = next(iter(node.users))
    return node.name


def _path(node: fx.Node) -> str | None:
    """The path of the innermost module that a traced node came from."""
    stack: dict[str, tuple[str, object]] = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path]
    return paths[-1] if paths else None


def _operator(node: fx.Node) -> str:
    """`aten.conv2d` for what a node calls."""
    return ".".join(str(node.target).split(".")[:2])


def _named(calls: list[_Call], operator: str | None, node: str | None) -> Culprit:
    """The call of that name, else the only ones of that operator."""
    for each in calls:
        if each.node == node and operator in {None, each.operator}:
            return Culprit(layer=each.layer, operator=each.operator)
    # Decompositions call the parts of an operator by its name with an underscore.
    plain = (operator or "").replace("._", ".")
    alike = [each for each in calls if each.operator in {operator, plain}]
    return Culprit(layer=alike[0].layer if alike else None, operator=operator)


def _transposed(calls: list[_Call]) -> Culprit:
    """The transposed convolution that is least like what converters know."""
    found = [each for each in calls if each.operator in _TRANSPOSED]
    odd = [(_oddities(each), each) for each in found]
    said, first = next(
        ((said, each) for said, each in odd if said), (next(iter(odd), ("", None)))
    )
    if first is None:
        return Culprit(operator=_TRANSPOSED[-1])
    return Culprit(layer=first.layer, operator=f"{first.operator}{said}")


def _oddities(call: _Call) -> str:
    """` (groups 16, dilation [2, 2])`: what of its arguments is unusual."""
    said = [
        f"{name} {call.args[place]}"
        for place, (name, usual) in _USUAL.items()
        if len(call.args) > place
        and call.args[place] not in (usual, [usual], [usual, usual])
    ]
    return f" ({', '.join(said)})" if said else ""
