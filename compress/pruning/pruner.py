"""One cut of a network: which channels go, and what makes up for them at once."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from compress.context.progress import passed
from compress.data.calibration import batches_of, chosen_images
from compress.devices.measuring import machine_of
from compress.pruning.budget import Ranking, allowed_units, least_missed, pools_of
from compress.pruning.criteria import CRITERIA, scores
from compress.pruning.cutting import cut, kept_channels
from compress.pruning.depthwise_separable import protected_groups
from compress.pruning.exclude import check_names
from compress.pruning.floor import may_be_cut
from compress.pruning.gradients import gradients_of
from compress.pruning.kernel_cost import cost_for, little_gained
from compress.pruning.kernel_latency import MULTIPLE
from compress.pruning.latency_search import latency_search_of
from compress.pruning.layout import Layout, asked_for
from compress.pruning.reconstruction_error import reconstruction_errors
from compress.pruning.record import PruningStep
from compress.pruning.recover import reconstructed, renormalized
from compress.pruning.tradeoff import traded
from runtime.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from compress.context.context import RunContext
    from compress.data.dataset import Catalog
    from compress.models.model import Model
    from compress.pruning.group import Group
    from compress.pruning.latency_search import LatencyChoice
    from compress.recipe.prune import Prune
    from compress.training.statistics import Batches


class Pruner:
    """What makes the cuts of one recipe: its criterion, its budget and its images.

    sensitive: groups that stay whole for what a trial showed; known from the first cut
    on.
    """

    def __init__(
        self, whole: Model, data: Catalog, context: RunContext, options: Prune
    ) -> None:
        """Check what can be checked before any work; `whole` is what is cut first."""
        self.whole, self.data, self.context, self.options = (
            whole,
            data,
            context,
            options,
        )
        self.size = whole.preprocess.size
        check_names(whole.net, options.exclude)
        self.deadline = latency_search_of(whole, context, options)
        self.shown = chosen_images(
            data,
            whole.preprocess,
            context,
            source=options.calib,
            count=options.calib_images,
        )
        self.images: Batches = batches_of(whole, self.shown)
        self.sensitive: tuple[str, ...] | None = None

    def prune_step(self, net: nn.Module, step: int) -> tuple[nn.Module, PruningStep]:
        """`net` after one cut, recovered without training, and what the cut was."""
        groups, layout = self.traced(net)
        values = self.scores(net, groups)
        kept, timely = self.kept(net, layout, values, step)
        chosen = {
            index: least_missed(value, units)
            for index, (value, units) in enumerate(zip(values, kept, strict=True))
            if units < len(value)
        }
        made = bare = cut(net, groups, chosen)
        left = kept_channels(net, groups, chosen)
        if self.options.recover == "lstsq":
            # Means are right after it, and deviations smaller for good reason: what
            # cannot be foretold is left out. Norms that stretched it again would
            # bring back noise (MobileNetV2, 20 % fewer MACs: 15 % top-1, then 10 %).
            made = reconstructed(made, net, left, self.images)
        elif self.options.recover == "bn":
            made = renormalized(made, net, left, self.images)
        return made, self.told(layout, kept, self.flips(net, bare, made), timely)

    def groups(self, net: nn.Module) -> Sequence[Group]:
        """The groups that the recipe allows to be cut."""
        name, console = self.whole.spec.name, self.context.console
        groups, found = may_be_cut(net, self.options, size=self.size, name=name)
        if found.left_whole:
            console.detail(f"prune: left whole: {', '.join(found.left_whole)}")
        if not groups:
            raise RecipeError(
                f"prune: {name}: no layer is left whose channels may be cut; exclude "
                "fewer, or choose another network"
            )
        return groups

    def traced(self, net: nn.Module) -> tuple[Sequence[Group], Layout]:
        """The groups that are to be cut, and the layers as they follow from them."""
        groups = self.groups(net)
        layout = Layout(net, groups, size=self.size)
        if self.sensitive is None:
            model = self.whole.with_net(net)
            self.sensitive = protected_groups(
                model, layout, self.shown, self.options, self.context
            )
        if not self.sensitive:
            return groups, layout
        groups = [g for g in groups if g.name not in self.sensitive]
        return groups, Layout(net, groups, size=self.size)

    def scores(self, net: nn.Module, groups: Sequence[Group]) -> list[torch.Tensor]:
        """What each unit is worth, by the criterion of the recipe."""
        if self.options.criterion == "reconstruction":
            return reconstruction_errors(net, groups, self.images)
        gradients = None
        if CRITERIA[self.options.criterion].needs_gradients:
            if not self.data.judges(len(self.whole.classes)):
                raise RecipeError(
                    f"criterion: {self.options.criterion} needs labels that the "
                    f"network knows, and {self.data.name} has others; use l2 or fpgm"
                )
            labels = torch.from_numpy(self.shown.labels)
            shares = torch.split(labels, len(next(self.images())))
            shown = passed("gradients of the loss", self.images())
            gradients = gradients_of(net, zip(shown, shares, strict=True))
        return scores(
            net,
            groups,
            self.options.criterion,
            rng=torch.Generator().manual_seed(self.context.seed),
            gradients=gradients,
        )

    def kept(
        self,
        net: nn.Module,
        layout: Layout,
        values: list[torch.Tensor],
        step: int,
    ) -> tuple[list[int], LatencyChoice | None]:
        """How many units each group keeps after this step, and how fast that is."""
        options = self.options
        ranking = Ranking(
            scores=values,
            pools=pools_of(net, layout.groups, options.scope),
            allowed=[
                allowed_units(group, round_to=self.multiple())
                for group in layout.groups
            ],
        )
        if self.deadline is not None:
            timely = self.deadline.choose(
                net,
                layout,
                values,
                allowed=ranking.allowed,
                share=step / options.steps,
            )
            return list(timely.kept), timely
        if options.ratio is not None:
            ratio = 1 - (1 - options.ratio) ** (1 / options.steps)
            return ranking.kept(ratio), None
        cost, most, unit = asked_for(options, self.whole.net, layout, size=self.size)
        if options.criterion == "reconstruction":
            # These scores are in one currency, so they may be set against the price.
            ranking = ranking.by_price(cost)
        # Equal factors, so that no step asks for more than another.
        share = 1 / (options.steps - step + 1)
        now = cost(layout.full)
        target = now * min(1.0, most / now) ** share
        if options.follows_kernels():
            kernels = cost_for(self.context.aim, machine_of)
            with suppress(RecipeError):  # beyond what it cuts, scores alone decide
                found = traded(
                    layout,
                    values,
                    kernels,
                    most=target,
                    allowed=ranking.allowed,
                    unit=unit,
                    spent=cost,
                )
                if remark := little_gained(layout, found, kernels):
                    self.context.console.tell(remark)
                return found, None
        return ranking.within(cost, target, unit=unit), None

    def multiple(self) -> int:
        """What the channels that are left are a multiple of."""
        asked = self.options.round_to
        return math.lcm(asked, MULTIPLE) if self.deadline else asked

    def told(
        self,
        layout: Layout,
        kept: Sequence[int],
        flips: Sequence[float],
        timely: LatencyChoice | None,
    ) -> PruningStep:
        """Say what a cut took and what it changed, before and after recovery."""
        macs = layout.macs(kept) / layout.macs(layout.full)
        self.context.console.tell(
            f"prune: {macs:.1%} of the MACs left; the cut changed {flips[0]:.1%} of "
            f"the answers, {flips[1]:.1%} after recovery ({self.options.recover})"
        )
        return PruningStep(
            macs=layout.macs(kept),
            params=layout.params(kept),
            flips_cut=flips[0],
            flips_recovered=flips[1],
            latency=timely.as_record() if timely else None,
            spared=self.sensitive or (),
            channels=tuple(
                (group.name, group.units * unit, units * unit)
                for group, unit, units in zip(
                    layout.groups, layout.unit, kept, strict=True
                )
            ),
        )

    def flips(self, net: nn.Module, *others: nn.Module) -> list[float]:
        """The share of images that each of `others` answers differently from `net`."""
        changed, count = [0] * len(others), 0
        with torch.inference_mode():
            for batch in passed("what the cut changed", self.images()):
                said = net(batch).argmax(1)
                for index, other in enumerate(others):
                    changed[index] += int((other(batch).argmax(1) != said).sum())
                count += len(batch)
        return [each / count for each in changed]
