"""Multipliers that kernels take: no grid so fine that a sum's step is many of its own.

A layer that its ReLU silences, or all but, and a product with a gate that stays shut
give numbers of next to no range. XNNPACK makes no convolution, linear layer or product
whose sums come in steps of 256 of the output's or more, and LiteRT then loads nothing
of the file. Steps finer than those of the sum say no more, so nothing is lost.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from torch import fx

from compress.int8.capture import ATEN
from compress.int8.grids import Scheme, float32
from compress.int8.operators import inputs_of, is_weighted, rule_of, weight_of, written
from compress.int8.plan import Plan
from compress.int8.simulate import is_int8
from export.qparams import HIGH, LOW, Grid

# Far from 256, and a power of two: such a multiple of an integer is never a tie.
_HIGHEST: Final = 16


def within_reach(graph: fx.GraphModule, plan: Plan, scheme: Scheme) -> Scheme:
    """The scheme, its grids coarser where a multiplier would be too large."""
    grids = dict(scheme.activations)
    for node in graph.graph.nodes:
        target = written(node).name
        if target not in grids or not is_int8(node, scheme):
            continue
        scale = float32(_step_of_sums(node, scheme, grids) / _HIGHEST)
        if grids[target].scale < scale:
            for each in _of_one_scale(plan, target):
                grids[each] = _coarser(grids[each], scale)
    return replace(scheme, activations=grids)


def _step_of_sums(node: fx.Node, scheme: Scheme, grids: Mapping[str, Grid]) -> float:
    """What one step of a layer's sums or of a product is worth; 0 of all others."""
    rule = rule_of(node)
    if rule is None or not (is_weighted(node) or node.target is ATEN.mul.Tensor):
        return 0.0
    step = 1.0
    for source in inputs_of(node, rule):
        step *= grids[source.name].scale
    if is_weighted(node):
        step *= float(scheme.weights[str(weight_of(node).target)].max())
    return step


def _of_one_scale(plan: Plan, node: str) -> Iterator[str]:
    """The nodes whose grids have the scale of that of `node`, if it can be chosen."""
    first = plan.first_of()[node]
    for each in next((found for found in plan.sums if first in found), (first,)):
        if each not in plan.fixed:
            yield from plan.groups[each]


def _coarser(grid: Grid, scale: float) -> Grid:
    """A grid of a larger scale and an even zero point that begins where `grid` does."""
    zero_point = 2 * round((LOW - grid.low / scale) / 2)
    return Grid(scale, max(LOW, min(HIGH - 1, zero_point)))
