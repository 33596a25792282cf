"""Networks that are lean already: told by their layers, judged by what a cut does."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch

from compress.context.context import RunContext
from compress.data.calibration import drawn
from compress.data.data import Images
from compress.models.model import Model
from compress.pruning.criteria import scores
from compress.pruning.group import Group
from compress.pruning.layout import Layer, Layout
from compress.pruning.sensitivity import Curve, answered, curves

if TYPE_CHECKING:
    from compress.recipe.prune import Prune

# So few images tell 5 % of changed answers from 30 %, and cost seconds.
IMAGES: Final = 64
# Of the channels of one group, as a careful cut takes them.
_SHARE: Final = 0.25
# Of the groups of a lean network that stay whole unless the recipe says otherwise.
_SPARED: Final = 0.1
# A network is lean when more than this of its work is in depthwise-separable blocks.
_MOST: Final = 0.5
_NAMED: Final = 3


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a small cut of each group alone does to a network's own answers.

    curves: the most sensitive group first, by the share of `images` that is answered
    as before; spared: the first layers of those that are to stay whole.
    """

    images: int
    curves: tuple[Curve, ...]
    spared: tuple[str, ...]

    def as_text(self) -> str:
        """What was measured, and what follows."""
        worst = ", ".join(
            f"{curve.name} ({1 - curve.loss:.0%})" for curve in self.curves[:_NAMED]
        )
        whole = f"{len(self.spared)} of {len(self.curves)} groups stay whole"
        return (
            f"without {_SHARE:.0%} of the channels of one group alone, so many of the "
            f"answers to {self.images} images change: {worst}; {whole} (see --protect "
            "and --exclude); cut little, and train longer after it"
        )


def separable(groups: Sequence[Group], layers: Sequence[Layer]) -> float:
    """The share of the MACs in depthwise convolutions and in what they go with.

    Those are the layers that have channels in a group with one, so the pointwise ones
    before and after it. The last layer does not count: a thousand classes on a small
    image outweigh any body.
    """
    layers = layers[:-1]
    depthwise = {each.name for each in layers if each.groups == each.inputs > 1}
    near = {
        name
        for group in groups
        if any(name in depthwise for name, _ in group.places)
        for name, _ in group.places
    }
    macs = sum(layer.macs for layer in layers if layer.name in near)
    return macs / max(1, sum(layer.macs for layer in layers))


def protected_groups(
    model: Model, layout: Layout, shown: Images, options: "Prune", context: RunContext
) -> tuple[str, ...]:
    """The groups of `layout`, by first layer, that are spared for what a trial shows.

    A lean network is warned of, and a little of it spared; not so where the recipe
    says what to spare, or where the criterion weighs all groups in one currency.
    """
    groups = layout.groups
    share = separable(groups, layout.whole)
    lean, spare = share > _MOST, options.protect
    if spare is None:
        decided = options.exclude or options.criterion == "reconstruction"
        spare = _SPARED if lean and not decided else 0.0
    if not lean and not spare:
        return ()
    found = tried(model, groups, shown, spare=spare, context=context)
    warning = (
        f"warning: {model.spec.name} is lean already, with {share:.0%} of its MACs in "
        "depthwise-separable blocks; "
        if lean
        else ""
    )
    better = (
        ""
        if options.criterion == "reconstruction"
        else ", choose by --criterion missed"
    )
    context.console.tell(f"prune: {warning}{found.as_text()}{better}")
    return found.spared


def tried(
    model: Model,
    groups: Sequence[Group],
    shown: Images,
    *,
    spare: float,
    context: RunContext,
) -> Trial:
    """Cut a quarter of each group alone, by L2, and see how many answers change.

    On a few of the images `shown`, on the CPU. `spare`: the share of the groups, the
    most sensitive first, that are to stay whole; above 0 it is at least one, and never
    all of them.
    """
    few = drawn(shown, IMAGES, seed=context.seed)
    values = scores(model.net, groups, "l2", rng=torch.Generator())
    found = curves(
        model,
        groups,
        values,
        answered(model, few, device="cpu"),
        ratios=(_SHARE,),
        context=replace(context, device="cpu"),
    )
    count = min(len(groups) - 1, math.ceil(spare * len(groups)))
    return Trial(
        images=len(few),
        curves=found,
        spared=tuple(curve.name for curve in found[:count]),
    )
