"""Parts of a graph that may be left in float together: beginnings, and gates."""

from torch import fx

from compress.int8.capture import ATEN
from compress.int8.operators import is_weighted, rule_of


def cuts(graph: fx.GraphModule) -> list[frozenset[str]]:
    """The nodes before each natural cut of a canonical graph, the first cut's first.

    A cut is natural where one tensor leads from what lies before it to what lies after.
    A clamp belongs to the operator that may perform it.
    """
    nodes = _operators(graph)
    place = {node: index for index, node in enumerate(nodes)}
    found: list[frozenset[str]] = []
    before: list[fx.Node] = []
    crossing: set[fx.Node] = {
        node for node in graph.graph.nodes if node.op == "placeholder"
    }
    for index, node in enumerate(nodes):
        before.append(node)
        crossing.add(node)
        crossing = {
            each
            for each in crossing
            if any(place.get(user, len(nodes)) > index for user in each.users)
        }
        clamped = index + 1 < len(nodes) and _is_clamp(nodes[index + 1])
        if len(crossing) == 1 and not clamped and any(map(is_weighted, before)):
            found.append(frozenset(each.name for each in before))
    return found


def gates(graph: fx.GraphModule) -> frozenset[str]:
    """The nodes of every gate that is computed from the tensor it scales."""
    found: frozenset[str] = frozenset()
    for node in _operators(graph):
        if node.target is ATEN.adaptive_avg_pool2d.default:
            found |= _gate(node)
    return found


def _gate(pool: fx.Node) -> frozenset[str]:
    """What leads from a pool to a product with what it pools; empty if more does."""
    scaled = pool.args[0]
    branch: dict[fx.Node, None] = {}
    todo = [pool]
    while todo:
        node = todo.pop()
        if node.op == "output":
            return frozenset()
        if node in branch or (node.target is ATEN.mul.Tensor and scaled in node.args):
            continue
        branch[node] = None
        todo.extend(node.users)
    return frozenset(node.name for node in branch)


def _operators(graph: fx.GraphModule) -> list[fx.Node]:
    """What computes, in order."""
    return [node for node in graph.graph.nodes if node.op == "call_function"]


def _is_clamp(node: fx.Node) -> bool:
    """Whether `node` only saturates."""
    rule = rule_of(node)
    return rule is not None and rule.clamp
