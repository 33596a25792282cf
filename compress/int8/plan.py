"""Which tensors of a graph get a grid, and which of them have to share one."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx

from compress.int8.capture import ATEN
from compress.int8.operators import (
    inputs_of,
    is_fused,
    is_weighted,
    rule_of,
    weight_of,
    weighted,
    written,
)
from export.qparams import Grid


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be decided about a graph, and what the table decided already.

    groups: nodes that share a grid, by the first of them; sums: groups that share a
    scale, each with a zero point of its own, since they are added up; fixed: grids that
    are known; weights: names of weights that get scales; logits: nodes whose range must
    not be cut, since the answer is read off them.
    """

    groups: Mapping[str, tuple[str, ...]]
    sums: tuple[tuple[str, ...], ...]
    fixed: Mapping[str, Grid]
    weights: tuple[str, ...]
    logits: frozenset[str]

    def first_of(self) -> dict[str, str]:
        """Each node's group."""
        return {node: first for first, group in self.groups.items() for node in group}


def planned(graph: fx.GraphModule) -> Plan:
    """Read the plan of a canonical graph off the table."""
    wanted: list[fx.Node] = [node for node in graph.graph.nodes if _wants_grid(node)]
    leader = {node: node for node in wanted}

    def find(node: fx.Node) -> fx.Node:
        while leader[node] is not node:
            node = leader[node]
        return node

    fixed: dict[fx.Node, Grid] = {}
    for node in wanted:
        rule = rule_of(node)
        if rule is None:
            continue
        if rule.fixed is not None:
            fixed[node] = rule.fixed
        if rule.output in {"shared", "joined"}:
            for source in inputs_of(node, rule):
                if source in leader:
                    first, second = find(source), find(node)
                    leader[max(first, second)] = min(first, second)
    groups: dict[str, list[str]] = defaultdict(list)
    for node in wanted:
        groups[find(node).name].append(node.name)
    of_node = {node: first for first, group in groups.items() for node in group}
    return Plan(
        sums=_sums(graph, of_node),
        groups={first: tuple(group) for first, group in groups.items()},
        fixed={find(node).name: grid for node, grid in fixed.items()},
        weights=tuple(
            dict.fromkeys(str(weight_of(node).target) for node in weighted(graph))
        ),
        logits=frozenset(node.name for node in wanted if _leads_only_out(node)),
    )


def _sums(
    graph: fx.GraphModule, group_of: Mapping[str, str]
) -> tuple[tuple[str, ...], ...]:
    """Groups that meet in additions, and with them those that they meet in others."""
    clusters: list[set[str]] = []
    for node in graph.graph.nodes:
        rule = rule_of(node)
        if rule is None or not rule.same_scale:
            continue
        met = {
            group_of[each.name]
            for each in (*inputs_of(node, rule), written(node))
            if each.name in group_of
        }
        apart = [cluster for cluster in clusters if cluster.isdisjoint(met)]
        touched = [cluster for cluster in clusters if not cluster.isdisjoint(met)]
        clusters = [*apart, met.union(*touched)]
    order = list(dict.fromkeys(group_of.values()))
    return tuple(tuple(sorted(each, key=order.index)) for each in clusters)


def _wants_grid(node: fx.Node) -> bool:
    """Whether the tensor that `node` gives is an INT8 one."""
    if node.op not in {"placeholder", "call_function"} or is_fused(node):
        return False
    readers = [user for user in node.users if _reads_int8(user, node)]
    if rule_of(node) is None:
        return bool(readers)
    return not is_answer(node) or bool(readers)


def _reads_int8(user: fx.Node, node: fx.Node) -> bool:
    """Whether `user` takes `node` as one of its INT8 inputs, and that matters."""
    rule = rule_of(user)
    if rule is None or node not in inputs_of(user, rule):
        return False
    return rule.weights or not is_answer(user)


def is_answer(node: fx.Node) -> bool:
    """Whether `node` gives the logits in float.

    That is the last linear layer, whose kernels can leave their sums as they are, and
    what only averages or moves numbers after the last INT8 operator.
    """
    if node.target is ATEN.linear.default:
        return all(user.op == "output" for user in node.users)
    rule = rule_of(node)
    if rule is not None and (rule.weights or rule.clamp):
        return False
    return all(
        user.op == "output" or (not is_weighted(user) and is_answer(user))
        for user in node.users
    )


def _leads_only_out(node: fx.Node) -> bool:
    """Whether the answer is read off `node` without another weighted operator."""
    return all(
        user.op == "output" or (not is_weighted(user) and _leads_only_out(user))
        for user in node.users
    )
