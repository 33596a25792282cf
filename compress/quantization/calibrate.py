"""Ranges of activations from calibration images, streamed: memory does not grow."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, cast

import torch
from torch import Tensor, fx

from compress.context.progress import passed
from compress.int8.capture import parameter
from compress.int8.grids import Scheme, roomy_scales, weight_scales
from compress.int8.multipliers import within_reach
from compress.int8.operators import bias_of, weight_of, weighted
from compress.int8.plan import Plan
from compress.int8.rules import grids_of
from export.qparams import Grid

Ranges = Literal["minmax", "mean", "percentile", "mse", "entropy"]
Batches = Callable[[], Iterable[Tensor]]

BINS: Final = 2048
_KEPT: Final = 0.9999  # share of values that a percentile range holds


@dataclass(kw_only=True)
class Seen:
    """What is known of one group of tensors after a pass over the images."""

    low: float = float("inf")
    high: float = float("-inf")
    low_sum: float = 0.0  # of each image's least value; the mean leaves outliers out
    high_sum: float = 0.0
    images: int = 0
    counts: Tensor = field(
        default_factory=lambda: torch.zeros(BINS, dtype=torch.float64)
    )

    def extend(self, values: Tensor) -> None:
        """Take in the extremes of a batch [n, …]."""
        for one in _in_memory_order(values):
            low, high = (float(each) for each in one.aminmax())
            self.low, self.high = min(self.low, low), max(self.high, high)
            self.low_sum += low
            self.high_sum += high
        self.images += len(values)

    def count(self, values: Tensor) -> None:
        """Sort a batch into the histogram of the known range."""
        width = max(self.high - self.low, 1e-12)
        self.counts += torch.histc(
            _in_memory_order(values).float(), BINS, self.low, self.low + width
        ).double()

    def centers(self) -> Tensor:
        """The middle of each bin, [BINS]."""
        step = (self.high - self.low) / BINS
        return self.low + step * (torch.arange(BINS, dtype=torch.float64) + 0.5)


def _in_memory_order(values: Tensor) -> Tensor:
    """A batch as [n, numbers]: fifty times faster to look at than in another order."""
    return values.movedim(1, -1).reshape(len(values), -1)


class Watch(fx.Interpreter):
    """Runs a graph and shows each watched tensor to its group."""

    def __init__(
        self,
        graph: fx.GraphModule,
        groups: Mapping[str, str],
        show: Callable[[str, Tensor], None],
    ) -> None:
        """`groups` maps nodes to the group that `show` is told."""
        super().__init__(graph)
        self.groups, self.show = groups, show

    def run_node(self, n: fx.Node) -> object:
        """Run one node; look at what it gives."""
        made = super().run_node(n)
        group = self.groups.get(n.name)
        if group is not None:
            self.show(group, made)
        return made


def _shown(
    seen: Mapping[str, Seen], look: Callable[[Seen, Tensor], None], name: str, x: Tensor
) -> None:
    """Let a group look at one of its tensors."""
    look(seen[name], x)


def seen_ranges(
    graph: fx.GraphModule, plan: Plan, images: Batches, *, histograms: bool = True
) -> dict[str, Seen]:
    """Look at every tensor that needs a range: extremes first, then histograms.

    images: float32 [n, 3, size, size] batches, twice the same ones.
    """
    groups = {
        node: first
        for first, nodes in plan.groups.items()
        if first not in plan.fixed
        for node in nodes
    }
    seen = {first: Seen() for first in dict.fromkeys(groups.values())}
    with torch.inference_mode():
        for look in (Seen.extend, Seen.count) if histograms else (Seen.extend,):
            watch = Watch(graph, groups, partial(_shown, seen, look))
            for batch in passed("measuring ranges", images()):
                watch.run(batch)
    return seen


def scheme_of(
    graph: fx.GraphModule,
    plan: Plan,
    seen: Mapping[str, Seen],
    ranges: Ranges,
    *,
    levels: Tensor | None = None,
) -> Scheme:
    """Choose every grid by one estimator; what the answer is read off is not cut.

    levels: every number that the input can hold, if they are few; see `grids_of`.
    """
    chosen = {}
    for first, nodes in plan.groups.items():
        if first not in plan.fixed:
            whole = not plan.logits.isdisjoint(nodes)
            chosen[first] = ESTIMATORS["minmax" if whole else ranges](seen[first])
    activations = grids_of(graph, plan, chosen, levels=levels)
    scheme = Scheme(activations=activations, weights=scales_of(graph, activations))
    return within_reach(graph, plan, scheme)


def scales_of(
    graph: fx.GraphModule, activations: Mapping[str, Grid]
) -> dict[str, Tensor]:
    """The scales [outputs] of every weight that the table knows, by its name."""
    found: dict[str, Tensor] = {}
    for node in weighted(graph):
        name, bias = str(weight_of(node).target), bias_of(node)
        scales = found.get(name, weight_scales(parameter(graph, weight_of(node))))
        source = activations.get(cast("fx.Node", node.args[0]).name)
        if bias is not None and source is not None:
            scales = roomy_scales(scales, parameter(graph, bias), source.scale)
        found[name] = scales
    return found


def _extremes(seen: Seen) -> tuple[float, float]:
    """Every value that was seen."""
    return seen.low, seen.high


def _means(seen: Seen) -> tuple[float, float]:
    """The mean over images of their extremes (NNCF's default for activations)."""
    return seen.low_sum / seen.images, seen.high_sum / seen.images


def _percentile(seen: Seen) -> tuple[float, float]:
    """All values but the rarest at either end."""
    share = seen.counts.cumsum(0) / seen.counts.sum()
    rest = (1 - _KEPT) / 2
    first, last = (int((share < cut).sum()) for cut in (rest, 1 - rest))
    step = (seen.high - seen.low) / BINS
    return seen.low + first * step, seen.low + min(last + 1, BINS) * step


def _least_error(seen: Seen) -> tuple[float, float]:
    """The range of the least mean squared error (Choukroun et al. 2019).

    Rounding costs step^2 / 12 within the range; what lies beyond costs its distance.
    """
    values, counts = seen.centers(), seen.counts
    best = (float("inf"), seen.low, seen.high)
    lows = [seen.low * share for share in _SHARES] if seen.low < 0 else [seen.low]
    for low in lows:
        below = ((low - values).clamp(min=0).square() * counts).sum()
        highs = torch.tensor([seen.high * share for share in _SHARES]).double()
        above = (
            (values[None] - highs[:, None]).clamp(min=0).square() * counts[None]
        ).sum(dim=1)
        steps = (highs.clamp(min=0) - min(low, 0.0)) / 255
        cost = above + below + counts.sum() * steps.square() / 12
        place = int(cost.argmin())
        best = min(best, (float(cost[place]), low, float(highs[place])))
    return best[1], best[2]


def _entropy(seen: Seen) -> tuple[float, float]:
    """The range whose 256 steps lose the least information (KL; Migacz 2017)."""
    values, counts = seen.centers(), seen.counts
    best = (float("inf"), seen.low, seen.high)
    for share in _SHARES:
        low, high = seen.low * share, seen.high * share
        if seen.low >= 0:
            low = seen.low
        inside = (values >= low) & (values <= high)
        kept = counts[inside]
        if kept.sum() == 0:
            continue
        want = kept.clone()
        want[0] += counts[values < low].sum()
        want[-1] += counts[values > high].sum()
        bins = ((values[inside] - low) / max(high - low, 1e-12) * 255).round().long()
        sums = torch.zeros(256, dtype=torch.float64).index_add_(0, bins, kept)
        filled = torch.zeros(256, dtype=torch.float64).index_add_(
            0, bins, (kept > 0).double()
        )
        have = torch.where(kept > 0, (sums / filled.clamp(min=1))[bins], 0.0)
        p, q = want / want.sum(), have / have.sum()
        both = (p > 0) & (q > 0)
        loss = float((p[both] * (p[both] / q[both]).log()).sum())
        loss += float(p[(p > 0) & (q == 0)].sum()) * 10
        best = min(best, (loss, low, high))
    return best[1], best[2]


_SHARES: Final = tuple(0.3 + 0.7 * i / 63 for i in range(64))
ESTIMATORS: Final[Mapping[str, Callable[[Seen], tuple[float, float]]]] = {
    "minmax": _extremes,
    "mean": _means,
    "percentile": _percentile,
    "mse": _least_error,
    "entropy": _entropy,
}
