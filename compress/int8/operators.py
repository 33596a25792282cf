"""Which operators run in INT8 on edge runtimes, and how: one table."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

from torch import fx

from compress.int8.capture import ATEN
from export.qparams import Grid
from runtime.errors import InputRejectedError

if TYPE_CHECKING:
    from torch._ops import OpOverload

Output = Literal["own", "shared", "joined", "fixed"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How an operator runs in INT8.

    inputs: how many of its first arguments are INT8 tensors (None: a list of them);
    weights: whether the argument after them is an INT8 weight, symmetric per output
    channel, with an int32 bias after it. output: a grid of its `own`, the one `shared`
    with its input (the kernel only moves or selects numbers), one `joined` by all its
    inputs, or
    one `fixed` by what the operator can give. clamp: it only saturates, so
    that the operator before it writes straight to its grid.
    """

    inputs: int | None = 1
    weights: bool = False
    output: Output = "own"
    fixed: Grid | None = None
    same_scale: bool = False
    clamp: bool = False


_WEIGHTED: Final = Rule(weights=True)
_CLAMP: Final = Rule(clamp=True)
_MOVES: Final = Rule(output="shared")

# operator -> rule. Sources: LiteRT 8-bit quantization specification; ONNX Runtime's
# QDQ selectors (onnxruntime/core/optimizer/qdq_transformer).
TABLE: Final[Mapping[object, Rule]] = {
    ATEN.conv2d.default: _WEIGHTED,
    ATEN.linear.default: _WEIGHTED,
    ATEN.relu.default: _CLAMP,
    ATEN.hardtanh.default: _CLAMP,
    ATEN.leaky_relu.default: Rule(),
    ATEN.add.Tensor: Rule(inputs=2, same_scale=True),
    ATEN.mul.Tensor: Rule(inputs=2),
    # The gate of h-swish: 254 steps, so that 1/2 is one of them; see `swish_grids`.
    ATEN.hardsigmoid.default: Rule(output="fixed", fixed=Grid(1 / 254, -128)),
    # LiteRT asks for exactly this grid.
    ATEN.sigmoid.default: Rule(output="fixed", fixed=Grid(1 / 256, -128)),
    ATEN.adaptive_avg_pool2d.default: Rule(),
    ATEN.max_pool2d.default: _MOVES,
    ATEN.cat.default: Rule(inputs=None, output="joined"),
    ATEN.pad.default: _MOVES,
    ATEN.constant_pad_nd.default: _MOVES,
    ATEN.reshape.default: _MOVES,
    ATEN.view.default: _MOVES,
    ATEN.flatten.using_ints: _MOVES,
    ATEN.squeeze.default: _MOVES,
    ATEN.squeeze.dim: _MOVES,
    ATEN.squeeze.dims: _MOVES,
    ATEN.unsqueeze.default: _MOVES,
    ATEN.select.int: _MOVES,
    ATEN.transpose.int: _MOVES,
    ATEN.permute.default: _MOVES,
    ATEN.slice.Tensor: _MOVES,
    ATEN.channel_shuffle.default: _MOVES,
    ATEN.upsample_nearest2d.vec: _MOVES,
    ATEN.upsample_bilinear2d.vec: _MOVES,
}

# What the integer kernels of the simulation know of an operator's arguments; the other
# operators of the table are run as they are.
_KNOWN: Final[Mapping[object, frozenset[str]]] = {
    ATEN.conv2d.default: frozenset(
        {"input", "weight", "bias", "stride", "padding", "dilation", "groups"}
    ),
    ATEN.linear.default: frozenset({"input", "weight", "bias"}),
    ATEN.add.Tensor: frozenset({"self", "other"}),
    ATEN.mul.Tensor: frozenset({"self", "other"}),
    ATEN.adaptive_avg_pool2d.default: frozenset({"self", "output_size"}),
}


def check_arguments(node: fx.Node) -> None:
    """Refuse an operator of the table with an argument that would be dropped."""
    if node.op != "call_function" or node.target not in TABLE:
        return
    schema = cast("OpOverload", node.target)._schema  # noqa: SLF001  # torch has no other name for it
    places = [each.name for each in schema.arguments if not each.kwarg_only]
    known = _KNOWN.get(node.target, frozenset(places))
    for name in (*places[: len(node.args)], *node.kwargs):
        if name not in known:
            value = node.kwargs.get(name, "a value")
            raise InputRejectedError(
                f"{node.name}: {schema.name} is called with {name}={value}, which its "
                f"INT8 kernel does not know; it knows {', '.join(sorted(known))}; "
                "write what is left as an operator of its own"
            )


def padding_of(node: fx.Node) -> float | None:
    """What a padding with a constant adds; None for any other operator."""
    if node.target not in {ATEN.pad.default, ATEN.constant_pad_nd.default}:
        return None
    given = node.args[2:]
    if node.target is ATEN.pad.default:
        if given and given[0] != "constant":
            return None
        given = given[1:]
    return float(cast("float", given[0])) if given and given[0] else 0.0


def is_unbounded(node: fx.Node) -> bool:
    """Whether `node` pads with what lies on no grid, such as -inf before a maximum."""
    value = padding_of(node)
    return value is not None and not math.isfinite(value)


def rule_of(node: fx.Node) -> Rule | None:
    """How `node` runs in INT8; None where it stays float."""
    rule = TABLE.get(node.target) if node.op == "call_function" else None
    if rule is None:
        return None
    if any(each.op == "get_attr" for each in inputs_of(node, rule)):
        return None  # a constant as an operand, as in ConvNeXt's layer scale
    if any(map(is_unbounded, (node, *inputs_of(node, rule)))):
        return None
    if node.target is ATEN.adaptive_avg_pool2d.default and node.args[1] != [1, 1]:
        return None  # windows of different sizes, which no integer kernel knows
    if len(inputs_of(node, rule)) != (rule.inputs or len(inputs_of(node, rule))):
        return None  # a number as an operand
    return rule


def inputs_of(node: fx.Node, rule: Rule) -> tuple[fx.Node, ...]:
    """The tensors that `node` reads in INT8."""
    given = node.args[0] if rule.inputs is None else node.args[: rule.inputs]
    return tuple(
        each for each in cast("tuple[object]", given) if isinstance(each, fx.Node)
    )


def is_weighted(node: fx.Node) -> bool:
    """Whether `node` multiplies by weights that the table knows."""
    rule = rule_of(node)
    return rule is not None and rule.weights


def weighted(graph: fx.GraphModule) -> list[fx.Node]:
    """Every operator with a weight that the table knows, in order."""
    return [node for node in graph.graph.nodes if is_weighted(node)]


def weight_of(node: fx.Node) -> fx.Node:
    """The weight that a weighted node reads."""
    return cast("fx.Node", node.args[1])


def bias_of(node: fx.Node) -> fx.Node | None:
    """The bias that a weighted node reads, if it has one."""
    return cast("fx.Node | None", node.args[2]) if len(node.args) > 2 else None  # noqa: PLR2004  # input, weight, bias


def is_fused(node: fx.Node) -> bool:
    """Whether `node` writes straight to the grid of the clamp after it."""
    if len(node.users) != 1:
        return False
    (user,) = node.users
    rule, next_rule = rule_of(node), rule_of(user)
    able = rule is not None and (rule.weights or rule.inputs == 2)  # noqa: PLR2004  # add and mul
    return able and next_rule is not None and next_rule.clamp


def written(node: fx.Node) -> fx.Node:
    """The node whose grid `node` writes to: that of its clamp, if it performs one."""
    return next(iter(node.users)) if is_fused(node) else node
