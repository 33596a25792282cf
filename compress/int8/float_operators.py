"""Which operators of a quantized network stay float, and what share of the work."""

from collections.abc import Iterator, Mapping

from torch import Tensor, fx

from compress.int8.capture import ATEN, INPUT, operator_of, parameter
from compress.int8.operators import is_weighted, rule_of, weight_of
from compress.int8.simulate import QuantizedNet, is_int8

# Operators without weights that cost next to nothing and have nothing to round.
_MOVES = frozenset({"shared"})


def float_operators(net: QuantizedNet) -> Iterator[Mapping[str, object]]:
    """Name, operator and share of the multiply-accumulates of whatever stays float.

    What a kernel does in passing (a fused clamp) or what only moves numbers into the
    answer is left out. Of the operators that the table does not know, attention
    multiplies; the others, such as a layer norm, have a share of 0.
    """
    macs = macs_of(net)
    total = sum(macs.values()) or 1
    for node in net.graph.graph.nodes:
        if node.op != "call_function" or is_int8(node, net.scheme):
            continue
        if node.target is ATEN.sym_size.int:  # a number of images, no tensor
            continue
        rule = rule_of(node)
        if rule is not None and (rule.clamp or rule.output in _MOVES):
            continue
        yield {
            "name": node.name,
            "operator": operator_of(node),
            "macs_share": macs.get(node.name, 0) / total,
        }


def macs_of(net: QuantizedNet) -> dict[str, int]:
    """Multiply-accumulates for one image of each weighted node and each attention."""
    found: dict[str, int] = {}

    class Count(fx.Interpreter):
        """Runs the graph on shapes alone."""

        def run_node(self, n: fx.Node) -> object:
            made = super().run_node(n)
            if is_weighted(n) and isinstance(made, Tensor):
                weight = parameter(net.graph, weight_of(n))
                found[n.name] = made[0].numel() * weight[0].numel()
            elif n.target is ATEN.scaled_dot_product_attention.default:
                query, key, value = self.fetch_args_kwargs_from_env(n)[0][:3]
                # Queries by keys, and what they weigh by values: [n, heads, tokens, …].
                positions = query[0].numel() // query.shape[-1] * key.shape[-2]
                found[n.name] = positions * (query.shape[-1] + value.shape[-1])
            return made

    Count(net.graph).run(_one_image(net))
    return found


def _one_image(net: QuantizedNet) -> Tensor:
    """An image of the size that the network was traced with."""
    (source,) = (node for node in net.graph.graph.nodes if node.name == INPUT)
    shape = source.meta["val"].shape
    import torch

    return torch.zeros(1, *(int(size) for size in shape[1:]))
