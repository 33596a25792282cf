"""From ranges to grids, so that every runtime rounds alike.

Each rule removes a place where ONNX Runtime and LiteRT (XNNPACK) compute one operator
in different ways that float rounding or a tie would show; a test runs both.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final, cast

import torch
from torch import Tensor, fx

from compress.int8.capture import ATEN, INPUT, parameter
from compress.int8.grids import HIGH, LOW, Grid, float32, grid_between
from compress.int8.means import calm_mean, counts_of
from compress.int8.plan import Plan

Range = tuple[float, float]

STEPS: Final = HIGH - LOW
# How far, and in how many steps, the input's scale may move away from ties.
_NUDGES: Final = 100
_NUDGE: Final = 1e-4
# The same for products, of which there are many more than pixels.
_PRODUCT_NUDGES: Final = 48
_PRODUCT_NUDGE: Final = 2e-5
MEAN: Final = ATEN.adaptive_avg_pool2d.default
# What gives numbers that may lie near ties.
CALM: Final[frozenset[object]] = frozenset({ATEN.mul.Tensor, MEAN})


def grids_of(
    graph: fx.GraphModule,
    plan: Plan,
    ranges: Mapping[str, Range],
    *,
    levels: Tensor | None = None,
) -> dict[str, Grid]:
    """The grid of every node, from the range of every group that has no fixed grid.

    levels: every number that an input image can hold, if they are few: uint8 pixels,
    normalized. Then no pixel lies near the middle between two steps, and it does not
    matter whether a runtime divides by a scale or multiplies by its inverse.
    """
    even = _even_groups(graph, plan)
    grids = dict(plan.fixed)
    for first, (low, high) in ranges.items():
        grids[first] = _spanning(low, high, even=first in even)
    for cluster in plan.sums:
        grids |= _summed(
            {name: ranges[name] for name in cluster if name in ranges}, even
        )
    if levels is not None and INPUT in grids:
        grids[INPUT] = _calm(grids[INPUT], levels)
    by_node = {
        node: grids[first] for first, nodes in plan.groups.items() for node in nodes
    }
    by_node |= swish_grids(graph, by_node)
    return calmed(graph, plan, by_node)


def _even_groups(graph: fx.GraphModule, plan: Plan) -> frozenset[str]:
    """Groups that a multiplication writes to.

    MLAS rounds after it added the zero point, XNNPACK before; half to even is the same
    for both only where the zero point is even.
    """
    first_of = plan.first_of()
    return frozenset(
        first_of[node.name]
        for node in graph.graph.nodes
        if node.target is ATEN.mul.Tensor and node.name in first_of
    )


def _spanning(low: float, high: float, *, even: bool) -> Grid:
    """The grid over [low, high], if asked for with an even zero point."""
    grid = grid_between(low, high)
    if not even or grid.zero_point % 2 == 0:
        return grid
    wider = (min(low, 0.0), max(high, 0.0))
    scale = float32((wider[1] - wider[0]) / (STEPS - 1))
    return Grid(scale, _zero_point(wider[0], scale, even=True))


def _zero_point(low: float, scale: float, *, even: bool) -> int:
    """The zero point that puts `low` on or above the first step."""
    exact = LOW - low / scale
    place = 2 * round(exact / 2) if even else round(exact)
    return max(LOW, min(HIGH - 1 if even else HIGH, place))


def _summed(ranges: Mapping[str, Range], even: frozenset[str]) -> dict[str, Grid]:
    """Grids of one scale, the widest needed, for tensors that are added up.

    With one scale a sum of steps is the step of the sum: integers, no rounding at all.
    """
    width = max(
        (max(high, 0.0) - min(low, 0.0) for low, high in ranges.values()), default=0.0
    )
    found = {}
    for name, (low, high) in ranges.items():
        narrow = min(low, 0.0)
        # What a narrow range leaves over is shared by both of its ends.
        spare = width - (max(high, 0.0) - narrow)
        steps = STEPS - 1 if any(each in even for each in ranges) else STEPS
        scale = float32(max(width, 1e-6) / steps)
        start = narrow - spare / 2 if narrow < 0 else narrow
        found[name] = Grid(scale, _zero_point(start, scale, even=name in even))
    return found


def _calm(grid: Grid, levels: Tensor) -> Grid:
    """The grid with its scale moved a little, so that no level lies near a tie."""
    best = (-1.0, grid)
    for nudge in range(_NUDGES):
        scale = float32(grid.scale * (1 + nudge * _NUDGE))
        steps = levels.double() / scale
        away = float((steps - steps.floor() - 0.5).abs().min())
        best = max(best, (away, Grid(scale, grid.zero_point)), key=lambda each: each[0])
    return best[1]


def calmed(
    graph: fx.GraphModule,
    plan: Plan,
    grids: Mapping[str, Grid],
    *,
    kinds: AbstractSet[object] = CALM,
) -> dict[str, Grid]:
    """The grids, those of means and products moved a little, away from all ties.

    A product is rounded alike only off ties, as MLAS adds the zero point in float32
    before; for a mean, see `means`. What is added up elsewhere keeps its shared scale,
    and a grid that was read to settle another keeps still from then on. kinds: of
    operators.
    """
    calm = dict(grids)
    summed = {name for cluster in plan.sums for name in cluster}
    first_of = plan.first_of()
    settled: set[str] = set()
    for node in graph.graph.nodes:
        first = first_of.get(node.name)
        if first is None or first in summed | settled or node.target not in kinds:
            continue
        grid = _calm_grid(graph, node, calm)
        if grid is not None:
            calm |= dict.fromkeys(plan.groups[first], grid)
            sources = {first_of.get(each.name) for each in node.all_input_nodes}
            settled |= {first, *(each for each in sources if each is not None)}
    return calm


def _calm_grid(
    graph: fx.GraphModule, node: fx.Node, grids: Mapping[str, Grid]
) -> Grid | None:
    """The grid that a product or a mean would do well to write to."""
    if node.target is ATEN.mul.Tensor:
        found = _products(graph, node, grids)
        return None if found is None else _calm_product(*found, grids[node.name])
    source = grids.get(cast("fx.Node", node.args[0]).name)
    if source is None:
        return None
    return calm_mean(source, grids[node.name], counts_of(node))


def _products(
    graph: fx.GraphModule, node: fx.Node, grids: Mapping[str, Grid]
) -> tuple[Tensor, float] | None:
    """Every product of two steps, or of a step and a constant, and what one is worth.

    None where an operand is neither.
    """
    scale, every = 1.0, []
    for operand in node.args:
        if not isinstance(operand, fx.Node):
            return None
        if operand.op == "get_attr":
            every.append(torch.unique(parameter(graph, operand).double()))
        elif operand.name in grids:
            grid = grids[operand.name]
            steps = torch.arange(LOW, HIGH + 1, dtype=torch.float64)
            every.append(steps - grid.zero_point)
            scale *= grid.scale
        else:
            return None
    return torch.unique(torch.outer(*every)), float32(scale)


def _calm_product(products: Tensor, factor: float, target: Grid) -> Grid:
    """The grid whose ties no product, in steps worth `factor` each, comes near."""
    best = (-1.0, target)
    for nudge in range(_PRODUCT_NUDGES):
        scale = float32(target.scale * (1 + nudge * _PRODUCT_NUDGE))
        places = products * float32(factor / scale)
        places = places[places.abs() <= STEPS + 1]
        away = float((places - places.floor() - 0.5).abs().min())
        best = max(best, (away, Grid(scale, target.zero_point)), key=lambda x: x[0])
    return best[1]


def swish_grids(graph: fx.GraphModule, chosen: Mapping[str, Grid]) -> dict[str, Grid]:
    """Grids on which h-swish costs integer kernels least.

    Below -3 it gives 0, so a grid may begin there; with scale 3 / k and -3 on its first
    step, the gate clip(x + 3, 0, 6) / 6 of step q is min(q, 2 k) / (2 k): a clamp, and
    another reading of the same numbers. Where x stays far from -3 such a grid would
    waste more than half of its steps, and the gate keeps a grid of its own.
    """
    found: dict[str, Grid] = {}
    for source, gate in _swishes(graph):
        grid = chosen[source.name]
        top = max(grid.high, 0.5)
        if top + 3 > 2 * (grid.high - max(grid.low, -3.0)):
            continue
        steps = round(3 * STEPS / (top + 3))
        found[source.name] = Grid(float32(3 / steps), steps + LOW)
        found[gate.name] = Grid(float32(1 / (2 * steps)), LOW)
    return found


def _swishes(graph: fx.GraphModule) -> list[tuple[fx.Node, fx.Node]]:
    """The input and the gate of every h-swish whose input nothing else reads."""
    found = []
    for gate in graph.graph.nodes:
        if gate.target is not ATEN.hardsigmoid.default or len(gate.users) != 1:
            continue
        source = cast("fx.Node", gate.args[0])
        (product,) = gate.users
        if set(source.users) == {gate, product}:
            found.append((source, gate))
    return found


def pixel_levels(mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Every number that a normalized uint8 image can hold, float32 [channels * 256]."""
    pixels = torch.arange(256, dtype=torch.float32) / 255
    return torch.cat([(pixels - m) / s for m, s in zip(mean, std, strict=True)])
