"""A network that learns on its INT8 grids: what is trained is what will be run.

The canonical graph is trained itself, every tensor rounded where a kernel rounds it, on
grids that come from the same rules as after calibration (`rules.grids_of`). torchao's
PT2E rewrites know neither scales shared by tensors of different zero points, nor grids
of h-swish, nor gates folded into convolutions; a network trained with them would have
to be moved to other grids before it is exported.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, cast

import torch
from torch import Tensor, fx, nn

from compress.context.progress import passed
from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured, parameter
from compress.int8.grids import Scheme
from compress.int8.multipliers import within_reach
from compress.int8.operators import bias_of, weight_of
from compress.int8.plan import planned
from compress.int8.rules import MEAN, Range, calmed, grids_of, pixel_levels
from compress.int8.simulate import QuantizedNet
from compress.models.model import Model
from compress.quantization.calibrate import Batches
from compress.quantization.fake_quantize import Learnt, Pass
from compress.quantization.qat_graph import (
    Source,
    body_of,
    first_ranges,
    joined,
    of_input,
    shares_of_scales,
)
from compress.quantization.qat_layer import Layer, Norm, unfolded
from compress.training.callback import Callback
from compress.training.statistics import Batches as Images
from compress.training.statistics import Moments, arrived
from export.qparams import Grid
from runtime.errors import RecipeError

# The share of a new batch in a range; Jacob et al. 2018 average over many batches. The
# first ones count more: normalized by themselves, batches look unlike calibration.
_MOMENTUM: Final = 0.01


class QatNet(nn.Module):
    """A canonical graph on its grids, as something to train."""

    def __init__(
        self,
        model: Model,
        images: Batches,
        *,
        learn_scales: bool,
        gather_until: float,
        watch_until: float,
    ) -> None:
        """Trace `model`, and start with the ranges that `images` show.

        images: float32 [n, 3, size, size] batches. Until these shares of the training,
        statistics for batch normalization are gathered and ranges follow what is seen.
        learn_scales: scales are parameters instead (LSQ).
        """
        super().__init__()
        self.gather_until, self.watch_until = gather_until, watch_until
        how = model.preprocess
        graph = captured(model.net, size=how.size, name=model.spec.name)
        before = unfolded(graph)
        canonical_(graph)
        plan = planned(graph)
        ranges = first_ranges(graph, plan, images)
        levels = pixel_levels(how.mean, how.std)
        grids = grids_of(graph, plan, ranges, levels=levels)
        self.source = Source(model=model, images=images, graph=graph, plan=plan)
        self.nodes = tuple(grids)
        self.groups = tuple(ranges)
        self.register_buffer("first_grids", torch.tensor([*grids.values()]))
        self.register_buffer("ranges", torch.tensor([*ranges.values()]))
        self.register_buffer("followed", torch.zeros(()))  # batches
        self.shares = shares_of_scales(graph, plan, grids) if learn_scales else {}
        count = len(set(self.shares.values()))
        # Relative to where they start, so that one rate suits every scale.
        self.widths = nn.Parameter(torch.ones(count)) if learn_scales else None
        self.body = body_of(graph, grids, before, learn_scales=learn_scales)
        self.watches = False

    first_grids: Tensor
    ranges: Tensor
    followed: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Map float32 [n, 3, size, size] to float32 logits [n, classes]."""
        watching = self.training and self.watches and self.widths is None
        now = Pass(
            grids=self.grids(),
            watched=frozenset(self.nodes) if watching else frozenset(),
        )
        logits: Tensor = self.body(now, images)
        if watching:
            self._follow_(now.seen)
        return logits

    def reach_(self, share: float) -> None:
        """Take note of how much of the training is over."""
        self.watches = share < self.watch_until
        for layer in self.layers().values():
            layer.gathers = self.gathers(share)

    def gathers(self, share: float) -> bool:
        """Whether statistics for batch normalization are gathered at this share."""
        return share < self.gather_until

    def regather_(self, images: Images, *, steps: int) -> None:
        """Set statistics that `steps` steps were too few for to those of `images`.

        Of the sums as they are in training, of rounded weights on the grids of now. A
        norm that gathers in enough steps keeps what it gathered, and so does one that
        never gathers: it has those of the float network, which it was trained with.
        """
        layers = [layer for layer in self.layers().values() if layer.norm is not None]
        norms = [cast("Norm", layer.norm) for layer in layers]
        if all(arrived(norm.momentum, steps) for norm in norms):
            return
        before = self.training, self.watches, [layer.gathers for layer in layers]
        self.train()
        self.watches = False
        for layer, norm in zip(layers, norms, strict=True):
            layer.gathers, norm.pooled = True, Moments()
        with torch.no_grad():
            for batch in passed("re-estimating batch norms", images()):
                self(batch)
        for norm in norms:
            if not arrived(norm.momentum, steps):
                norm.settle_()
            norm.pooled = None
        training, self.watches, gathering = before
        self.train(training)
        for layer, gathers in zip(layers, gathering, strict=True):
            layer.gathers = gathers

    def layers(self) -> dict[str, Layer]:
        """Every weighted layer, by its node."""
        return {
            name: layer
            for name, layer in self.body.named_children()
            if isinstance(layer, Layer)
        }

    def grids(self) -> Mapping[str, Grid | Learnt]:
        """The grid of every node as it is now."""
        graph, plan = self.source.graph, self.source.plan
        first = {
            node: Grid(scale, round(zero))
            for node, (scale, zero) in zip(
                self.nodes, self.first_grids.tolist(), strict=True
            )
        }
        if self.widths is None:
            if not self.ranges.isfinite().all():
                raise RecipeError(
                    "qat: values became nan or infinite, so the training diverged; "
                    "lower learning_rate (--learning-rate)"
                )
            found = cast("list[Range]", self.ranges.tolist())
            ranges = dict(zip(self.groups, found, strict=True))
            # Pixels have the range they have, and their grid avoids ties.
            held = {node: first[node] for node in of_input(plan) if node in ranges}
            plan = replace(plan, fixed={**plan.fixed, **held})
            rest = {name: ends for name, ends in ranges.items() if name not in held}
            return grids_of(graph, plan, rest)
        made: dict[str, Grid | Learnt] = dict(first)
        for node, share in self.shares.items():
            scale = self.widths[share].clamp(min=0.01) * first[node].scale
            made[node] = Learnt(scale, first[node].zero_point)
        return made | self._calm_means(made)

    def _calm_means(self, grids: Mapping[str, Grid | Learnt]) -> dict[str, Learnt]:
        """The learnt grids of means, moved off ties; they go on learning."""
        graph, plan = self.source.graph, self.source.plan
        now = {
            node: Grid(float(torch.as_tensor(grid.scale).detach()), grid.zero_point)
            for node, grid in grids.items()
        }
        moved = calmed(graph, plan, now, kinds={MEAN})
        return {
            node: Learnt(grid.scale * (moved[node].scale / now[node].scale), zero)
            for node, grid in grids.items()
            if isinstance(grid, Learnt) and moved[node] != now[node]
            for zero in [moved[node].zero_point]
        }

    def quantized(self) -> QuantizedNet:
        """What was learnt, as a graph and grids for integer kernels."""
        graph = copy.deepcopy(self.source.graph)
        weights = {}
        with torch.no_grad():
            for name, value in self.body.named_parameters(recurse=False):
                cast("Tensor", getattr(graph, name)).copy_(value)
            activations = {
                node: Grid(float(grid.scale), grid.zero_point)
                for node, grid in self.grids().items()
            }
            layers = self.layers()
            for node in graph.graph.nodes:
                if node.name not in layers:
                    continue
                layer = layers[node.name]
                weight, bias = layer.folded()
                step = activations[cast("fx.Node", node.args[0]).name].scale
                parameter(graph, weight_of(node)).copy_(weight)
                scales = layer.scales(weight, bias, step)
                weights[str(weight_of(node).target)] = scales.clone()
                to = bias_of(node)
                if to is not None and bias is not None:
                    parameter(graph, to).copy_(bias)
        scheme = Scheme(activations=activations, weights=weights)
        return QuantizedNet(graph, within_reach(graph, self.source.plan, scheme))

    def _follow_(self, seen: Mapping[str, Tensor]) -> None:
        """Move the ranges towards what a batch showed, the same for all processes."""
        plan = self.source.plan
        ends = torch.stack(
            [
                joined([seen[node] for node in plan.groups[first] if node in seen], row)
                for row, first in zip(self.ranges, self.groups, strict=True)
            ]
        )
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(ends)
            ends /= torch.distributed.get_world_size()
        self.followed += 1
        self.ranges.lerp_(ends, max(_MOMENTUM, 1 / (1 + float(self.followed))))


class QatSchedule(Callback):
    """Freezes a network's batch-norm statistics, and then its observers, on the way."""

    def before_step_(self, net: nn.Module, share: float) -> None:
        """Let `net` know how much of the training is over."""
        if isinstance(net, QatNet):
            net.reach_(share)
