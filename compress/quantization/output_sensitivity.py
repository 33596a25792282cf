"""How much an error anywhere in a network matters to its answer, by gradients.

The answer is read off the distance between the greatest logit and those behind it. The
gradient of such a distance says, to first order, how far a small error in a tensor or
a weight moves it (Nagel et al. 2020, Li et al. 2021 weigh errors by that Jacobian).
Rounding errors are independent, so their squares add up; what a range cuts off is not,
so it is summed over an image before it is squared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, fx

from compress.context.progress import passed
from compress.int8.axes import axis_of, by_channel, channel_axes
from compress.quantization.calibrate import Batches, Seen

# How many answers behind the first one may overtake it.
RIVALS: Final = 5
# Candidates for an end of a range: this many, from this share of an image's usual
# extreme up to the greatest that was seen.
ENDS: Final = 18
LEAST: Final = 0.3
# Magnitudes at which a channel may be cut: four to an octave, from 2^-10 to 2^8, each a
# number whose float32 has zeros after the mantissa's first two bits; see `_reaches`.
_EXPONENT_BIAS, _LATER_BITS = 127, 21
_FIRST: Final = (_EXPONENT_BIAS - 10) * 4
_COUNT: Final = 18 * 4 + 1
REACHES: Final = (
    (torch.arange(_FIRST, _FIRST + _COUNT, dtype=torch.int32) << _LATER_BITS)
    .view(torch.float32)
    .double()
)


@dataclass(kw_only=True)
class Influence:
    """What errors in one tensor do to the answer, summed over `images` images.

    low, high: candidates for either end of its range, [candidates]; gradients: of each
    channel, squared, where the value is not 0 (0 lies on every grid), [channels]; cut:
    squared effect of cutting at low i and high j, [candidates, candidates]; reach:
    squared effect of cutting a channel at each magnitude of REACHES, on both sides,
    [channels, REACHES], where it is asked for.
    """

    low: Tensor
    high: Tensor
    gradients: Tensor
    cut: Tensor
    reach: Tensor
    images: int = 0

    def rounding(self, step: float) -> float:
        """The squared effect per image of rounding to steps of `step`."""
        return step**2 / 12 * float(self.gradients.sum()) / self.images

    def cutting(self) -> Tensor:
        """The squared effect per image of each pair of ends, [low, high]."""
        return self.cut / self.images


@dataclass(kw_only=True)
class Influences:
    """Tensors by node, and squared gradients of weights by their names."""

    tensors: dict[str, Influence] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    images: int = 0


def influences(  # noqa: PLR0913  # what to look at, and how closely
    graph: fx.GraphModule,
    ends: Mapping[str, tuple[Tensor, Tensor]],
    images: Batches,
    *,
    most: int,
    weights: bool = True,
    seed: int = 0,
    title: str = "gradients",
) -> Influences:
    """Look at `most` images of `images`, one by one, so that memory stays small.

    ends: the nodes of interest, and candidates for either end of their ranges, from the
    inside out; see `ends_of`. title: what the work is called on console.
    """
    draw = torch.Generator().manual_seed(seed)
    found = Influences()
    axes = channel_axes(graph)
    watch = _Keep(graph, ends)
    names = [name for name, _ in graph.named_parameters()] if weights else []
    learnt = [graph.get_parameter(name) for name in names]
    for one in passed(title, evenly(images, most)):
        watch.kept.clear()
        for parameter in learnt:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            logits = watch.run(one.clone().requires_grad_())
            kept = dict(watch.kept)
            wanted = (*kept.values(), *learnt)
            gradients = torch.autograd.grad(
                _lead(logits, draw), wanted, allow_unused=True
            )
        for parameter in learnt:
            parameter.requires_grad_(False)
        for (name, value), slope in zip(kept.items(), gradients, strict=False):
            if slope is not None:
                axis = axes.get(name, axis_of(value))
                values, slopes = (by_channel(x.detach(), axis) for x in (value, slope))
                _add_(found, name, values, slopes, ends[name])
        for name, slope in zip(names, gradients[len(kept) :], strict=True):
            if slope is not None:
                before = found.weights.get(name)
                squared = slope.square()
                found.weights[name] = (
                    squared if before is None else before.add_(squared)
                )
        found.images += 1
    return found


def evenly(images: Batches, most: int) -> list[Tensor]:
    """About `most` single images [1, 3, h, w], spread over all of them."""
    total = sum(len(batch) for batch in images())
    wanted = {i * total // most for i in range(most)} if total > most else range(total)
    chosen, start = [], 0
    for batch in images():
        chosen += [
            batch[i : i + 1].clone(memory_format=torch.preserve_format)
            for i in range(len(batch))
            if start + i in wanted
        ]
        start += len(batch)
    return chosen


class _Keep(fx.Interpreter):
    """Runs a graph and keeps the tensors whose gradients are wanted."""

    def __init__(self, graph: fx.GraphModule, names: Mapping[str, object]) -> None:
        """`names` are nodes."""
        super().__init__(graph)
        self.names = names
        self.kept: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        """Run one node and keep what it gives.

        What does not depend on the image, such as a class token for each of a batch,
        has a gradient as well: its errors do.
        """
        made = super().run_node(n)
        if n.name in self.names and isinstance(made, Tensor):
            if not made.requires_grad:
                made = made.detach().requires_grad_()
            self.kept[n.name] = made
        return made


def _lead(logits: Tensor, draw: torch.Generator) -> Tensor:
    """How far the first answer is ahead of one behind it. logits: [1, classes].

    A single output is compared with nothing: it is the answer.
    """
    behind = min(RIVALS, logits.shape[1] - 1)
    if behind == 0:
        return logits[0, 0]
    order = logits.detach()[0].topk(behind + 1).indices
    rival = order[int(torch.randint(1, behind + 1, (1,), generator=draw))]
    return logits[0, order[0]] - logits[0, rival]


def ends_of(seen: Seen) -> tuple[Tensor, Tensor]:
    """Candidates for either end of a range, from the inside out, [ENDS] each."""
    steps = torch.linspace(0, 1, ENDS, dtype=torch.float64)

    def between(usual: float, greatest: float) -> Tensor:
        inner = LEAST * min(max(usual, 1e-9), max(greatest, 1e-9))
        return (
            inner * (max(greatest, 1e-9) / inner) ** steps
            if greatest > 0
            else steps * 0
        )

    low = between(-seen.low_sum / seen.images, -seen.low)
    return -low, between(seen.high_sum / seen.images, seen.high)


def _add_(
    found: Influences,
    name: str,
    value: Tensor,
    slope: Tensor,
    ends: tuple[Tensor, Tensor],
) -> None:
    """Take in one image's tensor [places, channels] and its gradient."""
    if name not in found.tensors:
        none = torch.zeros(value.shape[1], dtype=torch.float64)
        found.tensors[name] = Influence(
            low=ends[0],
            high=ends[1],
            gradients=none.clone(),
            cut=torch.zeros(len(ends[0]), len(ends[1]), dtype=torch.float64),
            reach=torch.zeros(value.shape[1], len(REACHES), dtype=torch.float64),
        )
    one = found.tensors[name]
    one.gradients += (slope * (value != 0)).square_().sum(dim=0).double()
    if len(ends[0]):
        above = _cut(value, slope, one.high)
        below = _cut(value, slope, one.low)
        one.cut += (below[:, None] + above[None, :]).square()
    else:
        one.reach += cut_by_channel(value, slope).square()
    one.images += 1


def _cut(value: Tensor, slope: Tensor, ends: Tensor) -> Tensor:
    """What cutting `value` at each of `ends`, from the inside out, does, [ends]."""
    last = float(ends[-1])
    if last == 0:  # nothing was seen on this side
        return torch.zeros(len(ends), dtype=torch.float64)
    side = 1.0 if last > 0 else -1.0
    flat, rising, first = value.flatten(), side * ends, float(ends[0])
    beyond = (flat > first if side > 0 else flat < first).nonzero()[:, 0]
    values, slopes = side * flat[beyond], slope.flatten()[beyond]
    # A value in bin b lies beyond the ends 0 … b - 1.
    bins = torch.bucketize(values, rising.float())
    weight = torch.bincount(bins, slopes, minlength=len(ends) + 1).double()
    moment = torch.bincount(bins, slopes * values, minlength=len(ends) + 1).double()
    weight, moment = (each.flip(0).cumsum(0).flip(0)[1:] for each in (weight, moment))
    return side * (rising * weight - moment)


def cut_by_channel(value: Tensor, slope: Tensor) -> Tensor:
    """What cutting [places, channels] at each of REACHES does, [channels, REACHES]."""
    channels, bins = value.shape[1], len(REACHES) + 1
    place = _reaches(value).add_(torch.arange(channels, dtype=torch.int32) * bins)

    def beyond(weights: Tensor) -> Tensor:
        """The sum of weights of what lies beyond each reach."""
        total = torch.bincount(place.flatten(), weights.flatten(), channels * bins)
        sums = total.double().view(channels, bins)
        return sums.flip(1).cumsum(dim=1).flip(1)[:, 1:]

    return REACHES * beyond(slope * value.sign()) - beyond(slope * value)


def _reaches(value: Tensor) -> Tensor:
    """How many of REACHES each float32 comes up to: an int32 read off its bits."""
    bits = value.abs().contiguous().view(torch.int32)
    return (bits >> _LATER_BITS).sub_(_FIRST - 1).clamp_(0, _COUNT)
