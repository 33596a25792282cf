"""Post-training quantization as a whole: from a float graph and images to INT8."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, fx

from compress.context.progress import passed
from compress.int8.grids import Scheme
from compress.int8.multipliers import within_reach
from compress.int8.plan import Plan, planned
from compress.int8.rules import Range, grids_of
from compress.int8.simulate import QuantizedNet
from compress.quantization.adaptive_rounding import with_learned_rounding
from compress.quantization.bias_correction import corrected, with_weights_corrected
from compress.quantization.calibrate import (
    ESTIMATORS,
    Batches,
    Seen,
    scales_of,
    seen_ranges,
)
from compress.quantization.equalization import equalized
from compress.quantization.output_sensitivity import (
    Influences,
    ends_of,
    evenly,
    influences,
)
from compress.quantization.ranges import chosen_ranges
from runtime.errors import InputRejectedError

Ranges = Literal["output", "minmax", "mean", "percentile", "mse", "entropy"]
Correction = Literal["none", "weights", "all"]
Say = Callable[[str], None]

# Images for what is learned from gradients, from means and from second moments; more
# change the result by less than another choice of images does (MobileNetV2).
_FOR_INFLUENCE: Final = 48
FOR_STRETCHING: Final = 32
FOR_BIASES: Final = 32
FOR_ROUNDING: Final = 64
CORRECTIONS: Final = {"weights": with_weights_corrected, "all": corrected}
_HISTOGRAMS: Final = frozenset({"percentile", "mse", "entropy"})


@dataclass(frozen=True, kw_only=True)
class Methods:
    """What the quantizer does; every field is one technique.

    ranges: "output" weighs steps against what is cut off by their effect on the answer,
    the others look at one tensor alone. correct_bias: for what rounded weights shift,
    or for what rounded and cut activations do as well, which is not the default: it
    takes MobileNetV2 from 24.0 to 20.0 dB, since what is cut looks like a shift.
    left_float: nodes to leave in float.
    """

    ranges: Ranges = "output"
    equalize: bool = True
    correct_bias: Correction = "weights"
    learn_rounding: bool = False
    left_float: frozenset[str] = frozenset()


DEFAULT: Final = Methods()


def quantized(
    graph: fx.GraphModule,
    images: Batches,
    *,
    methods: Methods = DEFAULT,
    levels: Tensor | None = None,
    say: Say = lambda _: None,
) -> QuantizedNet:
    """Quantize a canonical `graph`, which is left alone.

    images: float32 [n, 3, size, size] batches, the same ones each time it is called;
    levels: every number that an image can hold, if they are few; see `grids_of`.
    """
    plan = planned(graph)
    made = graph
    if methods.equalize:
        say("equalizing channels")
        nothing = torch.zeros(0, dtype=torch.float64)
        nodes = {
            node: (nothing, nothing) for group in plan.groups.values() for node in group
        }
        found = influences(
            graph, nodes, images, most=FOR_STRETCHING, title="equalizing channels"
        )
        made = equalized(graph, found)
        plan = planned(made)
    say("measuring ranges")
    ranges = ranges_of(made, plan, images, ranges=methods.ranges)
    activations = grids_of(made, plan, ranges, levels=levels)
    scheme = Scheme(
        activations=activations,
        weights=scales_of(made, activations),
        left_float=methods.left_float,
    )
    scheme = within_reach(made, plan, scheme)
    rounded = made
    if methods.learn_rounding:
        say("learning how to round weights")
        some = evenly(images, FOR_ROUNDING)
        rounded = with_learned_rounding(made, scheme, lambda: some)
    if methods.correct_bias != "none":
        say("correcting biases")
        correct = CORRECTIONS[methods.correct_bias]
        rounded = correct(made, rounded, scheme, evenly(images, FOR_BIASES))
    return QuantizedNet(rounded, scheme)


def ranges_of(
    graph: fx.GraphModule, plan: Plan, images: Batches, *, ranges: Ranges
) -> Mapping[str, Range]:
    """The range of every group of tensors that has no fixed grid."""
    seen = seen_ranges(graph, plan, images, histograms=ranges in _HISTOGRAMS)
    _check(seen)
    whole = {first: (one.low, one.high) for first, one in seen.items()}
    if ranges == "output":
        return _weighed(graph, plan, images, seen)
    return {
        first: ESTIMATORS[ranges](one)
        if plan.logits.isdisjoint(plan.groups[first])
        else whole[first]
        for first, one in passed("choosing ranges", seen.items())
    }


def _check(seen: Mapping[str, Seen]) -> None:
    """Refuse what has no range: nothing was shown, or what was is no number."""
    for name, one in seen.items():
        if one.images == 0:
            raise InputRejectedError("calibration: no images were given")
        # The sums: one NaN would pass unseen through a minimum.
        if not math.isfinite(one.low_sum + one.high_sum):
            raise InputRejectedError(
                f"calibration: {name} gives numbers that are not finite; look for NaN "
                "in the images and in the weights"
            )


def range_influences(
    graph: fx.GraphModule,
    plan: Plan,
    ends: Mapping[str, tuple[Tensor, Tensor]],
    images: Batches,
    *,
    title: str,
) -> Influences:
    """How ranges between `ends`, of the first node of each group, reach the answer."""
    by_node = {node: ends[first] for first in ends for node in plan.groups[first]}
    return influences(
        graph, by_node, images, most=_FOR_INFLUENCE, weights=False, title=title
    )


def _weighed(
    graph: fx.GraphModule, plan: Plan, images: Batches, seen: Mapping[str, Seen]
) -> Mapping[str, Range]:
    """Ranges of the least effect on the answer."""
    ends = {first: ends_of(one) for first, one in seen.items()}
    title = "weighing ranges by their effect"
    found = range_influences(graph, plan, ends, images, title=title)
    whole = {first: (one.low, one.high) for first, one in seen.items()}
    return chosen_ranges(plan, whole, found)
