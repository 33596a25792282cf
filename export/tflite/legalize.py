"""A Q/DQ graph in operators that XNNPACK, which LiteRT runs on, has kernels for.

Every spelling gives the same integers as the operator it replaces; where LiteRT has no
kernel that does, the docstring says what differs.
"""

from collections.abc import Callable
from typing import Final, cast

import torch
from torch import Tensor, fx

from export.qparams import LOW, Grid
from export.tflite import marks, qdq
from export.tflite.qdq import ATEN

# What may round its sums straight to the grid of a clamp.
_FUSING: Final = frozenset(
    {
        ATEN.conv2d.default,
        ATEN.linear.default,
        ATEN.add.Tensor,
        ATEN.mul.Tensor,
    }
)
_THREE: Final = 3.0
# How far two float32 scales may lie apart and be one: a few roundings.
_SAME: Final = 1e-6


def spell_(graph: fx.GraphModule, image: Tensor) -> None:
    """Apply every spelling; `image` [1, 3, size, size] shows the shapes."""
    for spelling in _SPELLINGS:
        shapes = _Shapes(graph)
        with torch.inference_mode():
            shapes.run(image)
        spelling(graph, shapes.found)
        graph.graph.eliminate_dead_code()
        graph.recompile()


Shapes = dict[fx.Node, tuple[int, ...]]


def gates_are_sums_(graph: fx.GraphModule, shapes: Shapes) -> None:
    """Write clip(x + 3, 0, 6) / 6 as ADD with a ReLU6 and MUL.

    Where x has the step of the sum, as h-swish's grids are chosen, both are sums and
    products of integers. Elsewhere ADD rounds ties up and not to even.
    """
    for node in _calls(graph, ATEN.hardsigmoid.default):
        source, target = qdq.read_on(node.args[0]), qdq.written_on(node)
        if source is None or target is None:
            continue
        step = _float32(6 * target.scale)
        if abs(step / source.scale - 1) < _SAME:
            step = source.scale
        between = Grid(step, LOW)
        ones = (1,) * len(shapes[node])
        with graph.graph.inserting_before(node):
            call = graph.graph.call_function
            shift = _number(graph, "three", _THREE, ones, between)
            total = call(ATEN.add.Tensor, (node.args[0], shift))
            clipped = call(ATEN.hardtanh.default, (total, 0.0, 6.0))
            rounded = qdq.snapped(graph.graph, clipped, between)
            sixth = Grid(_float32(1 / 6), 0)
            share = _number(graph, "sixth", sixth.scale, ones, sixth)
            gate = call(ATEN.mul.Tensor, (rounded, share))
        node.replace_all_uses_with(gate)


def clamps_are_grids_(graph: fx.GraphModule, shapes: Shapes) -> None:
    """Leave out each clamp whose bounds its own grid keeps."""
    del shapes
    for node in _calls(graph, ATEN.relu.default, ATEN.hardtanh.default):
        source, target = cast("fx.Node", node.args[0]), qdq.written_on(node)
        if target is None or source.target not in _FUSING or len(source.users) > 1:
            continue
        low, high = _bounds(node)
        if target.low >= low - _SAME and target.high <= high * (1 + _SAME):
            node.replace_all_uses_with(source)


def pools_are_padded_before_(graph: fx.GraphModule, shapes: Shapes) -> None:
    """Let zeros be added before a maximum over windows, where nothing is below zero.

    XNNPACK knows PAD, but not the padding with the least number that a pool needs.
    """
    for node in _calls(graph, ATEN.max_pool2d.default):
        source = qdq.read_on(node.args[0])
        if source is None or not _is_positive(cast("fx.Node", node.args[0]), source):
            continue
        kernel, stride, padding = _pool(node)
        inner, outer = shapes[cast("fx.Node", node.args[0])][2:], shapes[node][2:]
        top, left = padding
        bottom, right = (
            max((out - 1) * step + window - size - more, 0)
            for out, step, window, size, more in zip(
                outer, stride, kernel, inner, padding, strict=True
            )
        )
        if max(top, left, bottom, right) == 0:
            continue
        with graph.graph.inserting_before(node):
            call = graph.graph.call_function
            # Channels last, as the file has them: the converter's PAD stays as it is.
            last = call(ATEN.permute.default, (node.args[0], [0, 2, 3, 1]))
            last = qdq.snapped(graph.graph, last, source)
            edges = [0, 0, left, right, top, bottom]
            padded = call(ATEN.constant_pad_nd.default, (last, edges, 0.0))
            padded = qdq.snapped(graph.graph, padded, source)
            first = call(ATEN.permute.default, (padded, [0, 3, 1, 2]))
            first = qdq.snapped(graph.graph, first, source)
            pooled = call(ATEN.max_pool2d.default, (first, kernel, stride))
        node.replace_all_uses_with(pooled)


def shuffles_keep_channels_last_(graph: fx.GraphModule, shapes: Shapes) -> None:
    """Shuffle channels [n, c, h, w] where the file has them, on the last axis.

    Written for [n, groups, c, h, w], each shuffle would move the whole map twice.
    """
    for node in _calls(graph, ATEN.reshape.default, ATEN.view.default):
        swap = _before(node)
        split = _before(swap) if swap.target is ATEN.transpose.int else node
        if split is node or split.target not in {
            ATEN.reshape.default,
            ATEN.view.default,
        }:
            continue
        outer, (source, *_) = shapes[split], split.args
        grid = qdq.read_on(source)
        axes = {int(cast("int", axis)) % len(outer) for axis in swap.args[1:]}
        shuffles = len(outer) == len(shapes[node]) + 1 == 5 and axes == {1, 2}  # noqa: PLR2004  # [n, groups, c, h, w]
        if (
            grid is None
            or not shuffles
            or shapes[cast("fx.Node", source)] != shapes[node]
        ):
            continue
        images, groups, channels, *map_ = outer
        steps: tuple[tuple[object, tuple[object, ...]], ...] = (
            (ATEN.permute.default, ([0, 2, 3, 1],)),
            (ATEN.reshape.default, ([images, *map_, groups, channels],)),
            (ATEN.transpose.int, (3, 4)),
            (ATEN.reshape.default, ([images, *map_, groups * channels],)),
        )
        with graph.graph.inserting_before(node):
            moved = cast("fx.Node", source)
            for target, arguments in steps:
                moved = graph.graph.call_function(target, (moved, *arguments))  # type: ignore[arg-type]
                moved = qdq.snapped(graph.graph, moved, grid)
            first = graph.graph.call_function(
                ATEN.permute.default, (moved, [0, 3, 1, 2])
            )
        node.replace_all_uses_with(first)


def _mark_floats_(graph: fx.GraphModule, shapes: Shapes) -> None:
    """Say what stays float; see `marks`."""
    del shapes
    marks.float_operators_are_marked_(graph)


def _read_once_(graph: fx.GraphModule, shapes: Shapes) -> None:
    """Let each tensor have one reader; see `marks`."""
    del shapes
    marks.numbers_are_read_once_(graph)


_SPELLINGS: Final[tuple[Callable[[fx.GraphModule, Shapes], None], ...]] = (
    pools_are_padded_before_,
    clamps_are_grids_,
    gates_are_sums_,
    shuffles_keep_channels_last_,
    _mark_floats_,
    _read_once_,
)


class _Shapes(fx.Interpreter):
    """Runs a graph once and keeps the shape of every tensor."""

    def __init__(self, graph: fx.GraphModule) -> None:
        """Look at `graph`."""
        super().__init__(graph)
        self.found: Shapes = {}

    def run_node(self, n: fx.Node) -> object:
        """Run one node; note what it gives."""
        made = super().run_node(n)
        if isinstance(made, Tensor):
            self.found[n] = tuple(made.shape)
        return made


def _calls(graph: fx.GraphModule, *targets: object) -> list[fx.Node]:
    """Every call of these operators, in order; a list, since the graph changes."""
    return [node for node in graph.graph.nodes if node.target in targets]


def _before(node: fx.Node) -> fx.Node:
    """What gives the first input of `node`, its rounding looked through."""
    source = cast("fx.Node", node.args[0])
    while source.target in {qdq.quantize(), qdq.dequantize()}:
        source = cast("fx.Node", source.args[0])
    return source


def _number(
    graph: fx.GraphModule, name: str, value: float, shape: tuple[int, ...], grid: Grid
) -> fx.Node:
    """A constant on a grid, of the rank that the layout pass needs."""
    return qdq.snapped(
        graph.graph, qdq.constant(graph, name, torch.full(shape, value)), grid
    )


def _bounds(node: fx.Node) -> tuple[float, float]:
    """What a clamp lets through."""
    if node.target is ATEN.relu.default:
        return 0.0, float("inf")
    low, high = (
        (*node.args[1:], -1.0, 1.0)[:2] if len(node.args) == 1 else node.args[1:]
    )
    return float(cast("float", low)), float(cast("float", high))


def _is_positive(node: fx.Node, grid: Grid) -> bool:
    """Whether the tensor that `node` dequantizes has nothing below zero."""
    if grid.zero_point == LOW:
        return True
    writer = cast("fx.Node", cast("fx.Node", node.args[0]).args[0])
    clamps = {ATEN.relu.default, ATEN.hardtanh.default}
    return writer.target in clamps and _bounds(writer)[0] >= 0


def _pool(node: fx.Node) -> tuple[list[int], list[int], list[int]]:
    """Kernel, stride and padding of a pool."""
    given = list(node.args[1:])
    kernel = _pair(given[0])
    stride = _pair(given[1]) if len(given) > 1 and given[1] else kernel
    return kernel, stride, _pair(given[2]) if len(given) > 2 else [0, 0]  # noqa: PLR2004  # torch's order


def _pair(value: object) -> list[int]:
    """A number for each axis of a map."""
    if isinstance(value, int):
        return [value, value]
    pair = [int(each) for each in cast("list[int]", value)]
    return pair * 2 if len(pair) == 1 else pair


def _float32(value: float) -> float:
    """The float32 nearest to `value`, as a file stores it."""
    return float(torch.tensor(value, dtype=torch.float32))
