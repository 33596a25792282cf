"""Padding as part of the convolution or pool that reads it."""

from functools import partial
from operator import ge, ne
from typing import Any, Final, cast

from torch import fx

from compress.int8.axes import shape_of
from compress.int8.capture import ATEN, parameter
from compress.int8.folding import CONVOLUTION, calls
from compress.int8.operators import padding_of

# Stride, padding, dilation, rounding up: torch's defaults of a pool.
_DEFAULTS: Final[tuple[Any, ...]] = (None, [0, 0], [1, 1], False)


def convolutions_pad_themselves_(graph: fx.GraphModule) -> None:
    """Spell padding that is asked for as "same" or "valid" in numbers."""
    for node in calls(graph, ATEN.conv2d.padding):
        source, kernel, *given = _arguments(node)
        plain: list[Any] = [None, [1, 1], "valid", [1, 1], 1]
        bias, stride, padding, dilation, groups = [*given, *plain[len(given) :]]
        sides = parameter(graph, cast("fx.Node", kernel)).shape[2:]
        totals = [
            step * (side - 1) if padding == "same" else 0
            for step, side in zip(_pair(dilation), sides, strict=True)
        ]
        if any(total % 2 for total in totals):
            (top, left), (down, right) = zip(
                *((total // 2, total - total // 2) for total in totals), strict=True
            )
            edges = [left, right, top, down]
            with graph.graph.inserting_before(node):
                source = graph.graph.call_function(
                    ATEN.constant_pad_nd.default, (source, edges, 0.0)
                )
            source._rename(f"{node.name}_padded")  # noqa: SLF001  # keeps names unique
            totals = [0, 0]
        node.target = CONVOLUTION
        halves = [total // 2 for total in totals]
        node.args = (source, kernel, bias, stride, halves, dilation, groups)


def pools_pad_themselves_(graph: fx.GraphModule) -> None:
    """Let a maximum over windows look beyond an edge instead of padding with -inf.

    Its own padding is alike on both sides; windows more at the far side come of
    rounding their number up, windows less of a slice. What cannot be said that way
    stays float (see `quantizer.is_unbounded`).
    """
    for node in calls(graph, ATEN.max_pool2d.default):
        pad = cast("fx.Node", node.args[0])
        if padding_of(pad) != float("-inf"):
            continue
        source = cast("fx.Node", pad.args[0])
        inner, outer = shape_of(source), shape_of(node)
        edges = [int(each) for each in _arguments(pad)[1]]
        if inner is None or outer is None or len(edges) != 4 or min(edges) < 0:  # noqa: PLR2004  # of a map
            continue
        kernel, *given = _arguments(node)[1:]
        stride, padding, dilation, ceil = [*given, *_DEFAULTS[len(given) :]]
        if any(_pair(padding)) or ceil:
            continue
        kernel, dilation = _pair(kernel), _pair(dilation)
        stride, before = _pair(stride or kernel), [edges[2], edges[0]]
        wanted = cast("list[int]", outer[-2:])
        for rounded_up in (False, True):
            counts = [
                _count(*axis, rounded_up=rounded_up)
                for axis in zip(
                    cast("list[int]", inner[-2:]),
                    kernel,
                    stride,
                    dilation,
                    before,
                    strict=True,
                )
            ]
            if all(map(ge, counts, wanted)):
                node.args = (source, kernel, stride, before, dilation, rounded_up)
                _keep_first_(graph, node, counts, wanted)
                break


def _count(  # noqa: PLR0913  # what an axis of a window is made of
    size: int, side: int, step: int, far: int, pad: int, *, rounded_up: bool
) -> int:
    """How many windows torch's pool has along an axis; none where it may not pad so."""
    if pad > side // 2:
        return 0
    span = size + 2 * pad - far * (side - 1) - 1
    count = (-(-span // step) if rounded_up else span // step) + 1
    # Torch leaves out a window that would begin in the padding behind the edge.
    return count - 1 if rounded_up and (count - 1) * step >= size + pad else count


def _keep_first_(
    graph: fx.GraphModule, node: fx.Node, counts: list[int], wanted: list[int]
) -> None:
    """Cut off what a pool gives more than is wanted, below and at the right."""
    kept, meta = node, dict(node.meta)
    for axis, count, want in zip((2, 3), counts, wanted, strict=True):
        if count == want:
            continue
        after = kept
        with graph.graph.inserting_after(after):
            kept = graph.graph.call_function(ATEN.slice.Tensor, (after, axis, 0, want))
        kept._rename(f"{node.name}_kept")  # noqa: SLF001  # keeps names unique
        kept.meta = meta
        after.replace_all_uses_with(kept, delete_user_cb=partial(ne, kept))


def _arguments(node: fx.Node) -> tuple[Any, ...]:
    """What an operator is called with; its schema says of which types."""
    return node.args


def _pair(value: Any) -> list[int]:  # noqa: ANN401  # whatever the operator takes
    """A number for each axis of a map."""
    if isinstance(value, int):
        return [value, value]
    pair = [int(each) for each in value]
    return pair * 2 if len(pair) == 1 else pair
