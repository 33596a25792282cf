"""The stage `prune` at work: trace, choose, cut, recover, train; step after step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import torch

from compress.checkpoint import is_model, load_model, save_model
from compress.int8.calibration import batches_of, chosen_images
from compress.int8.simulate import QuantizedNet
from compress.job import is_main_process
from compress.models.construct import skeleton
from compress.models.names import family
from compress.pruning.blocks import without_blocks
from compress.pruning.budget import Ranking, allowed_units, least_missed, pools_of
from compress.pruning.criteria import CRITERIA, scores
from compress.pruning.cutting import cut, left_of
from compress.pruning.deadline import deadline_of
from compress.pruning.gradients import gradients_of
from compress.pruning.graph import groups_of
from compress.pruning.keep import check_names, spared
from compress.pruning.layout import Layout, asked_for
from compress.pruning.missed import missed
from compress.pruning.proof import proved
from compress.pruning.recover import reconstructed, renormalised
from compress.pruning.staircase import MULTIPLE
from compress.surgery.differences import widths_between
from compress.training.fit import augmentation, fit
from compress.training.resume import forget_state
from compress.training.taught import taught
from runtime.errors import RecipeError
from runtime.files import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from compress.data.catalogue import Catalogue
    from compress.job import Job
    from compress.models.model import Model
    from compress.pruning.deadline import Timely
    from compress.pruning.group import Group
    from compress.pruning.recover import Batches
    from compress.stages.prune import Prune

RECORD: Final = "pruning.json"
# Augmentations of each image whose answers the teacher gives once and for all.
_VIEWS: Final = 4
# Families whose every channel was searched for; they lose more by a cut than others.
_LEAN: Final = frozenset({"mobilenet", "efficientnet"})


def pruned(model: Model, data: Catalogue, job: Job, options: Prune) -> Model:
    """`model` cut as `options` say; what was cut is written to `job.folder`."""
    if isinstance(model.net, QuantizedNet):
        raise RecipeError(
            f"prune: {model.spec.name} is quantised already, and its grids belong to "
            "the channels it has; prune the float model, then quantise that"
        )
    return _Pruning(model, data, job, options).carry_out()


class _Pruning:
    """One call of `pruned`: the whole network, the images, and how far it has come."""

    def __init__(self, model: Model, data: Catalogue, job: Job, options: Prune) -> None:
        self.whole, self.data, self.job, self.options = model, data, job, options
        self.size = model.preprocess.size
        check_names(model.net, options.keep)
        self.deadline = deadline_of(model, job, options)
        self.shown = chosen_images(
            data,
            model.preprocess,
            job,
            source=options.calib,
            count=options.calib_images,
        )
        self.images: Batches = batches_of(model, self.shown)
        self.steps: list[dict[str, object]] = []
        self.timely: Timely | None = None

    def carry_out(self) -> Model:
        """Blocks first, then channels, then the last training."""
        options = self.options
        self.warn()
        net, removed = self.whole.net, tuple[str, ...]()
        if options.blocks:
            shorter = without_blocks(net, options.blocks, self.images)
            net, removed = shorter.net, shorter.removed
            self.job.screen.tell(f"prune: without {', '.join(shorter.removed)}")
        model = self.recorded(net, removed)
        for step in range(1, options.steps + 1):
            last = step == options.steps
            here = self.job if last else self.job.within(f"step-{step}", title="step")
            epochs = options.epochs if last else options.step_epochs
            if not last and is_model(here.folder):
                model = load_model(here.folder, factory=model.spec.factory)
                continue
            model = self.recorded(self.thinned(model.net, step), removed)
            model = self.trained(model, here, epochs)
            if not last and is_main_process():
                save_model(model, here.folder)
                forget_state(here.folder)
        if is_main_process():
            write_json(self.job.folder / RECORD, self.record(model))
        return model

    def warn(self) -> None:
        """Say what is known to go wrong with networks like this one."""
        name = self.whole.spec.name
        if family(name) in _LEAN:
            self.job.screen.tell(
                f"prune: warning: {name} is lean already, and loses more by a cut than "
                "a ResNet does; choose by --criterion missed, see what each layer is "
                "worth with `compress sensitivity`, cut little, and train after it"
            )

    def thinned(self, net: nn.Module, step: int) -> nn.Module:
        """One cut, and what brings the answers back without training."""
        groups, layout = self.traced(net)
        values = self.scores(net, groups)
        kept = self.kept(net, layout, values, step)
        chosen = {
            index: least_missed(value, units)
            for index, (value, units) in enumerate(zip(values, kept, strict=True))
            if units < len(value)
        }
        made = bare = cut(net, groups, chosen)
        left = left_of(net, groups, chosen)
        if self.options.recover == "lstsq":
            # Means are right after it, and deviations smaller for good reason: what
            # cannot be foretold is left out. Norms that stretched it again would
            # bring back noise (MobileNetV2, 20 % fewer MACs: 15 % top-1, then 10 %).
            made = reconstructed(made, net, left, self.images)
        elif self.options.recover == "bn":
            made = renormalised(made, net, left, self.images)
        self.tell(net, bare, made, layout, kept)
        return made

    def traced(self, net: nn.Module) -> tuple[Sequence[Group], Layout]:
        """The groups that may be cut, and the layers as they follow from them."""
        name, screen = self.whole.spec.name, self.job.screen
        found = proved(net, groups_of(net, size=self.size, name=name), size=self.size)
        if found.left_whole:
            screen.detail(f"prune: left whole: {', '.join(found.left_whole)}")
        groups = [g for g in found.groups if not spared(g, self.options.keep)]
        if not groups:
            raise RecipeError(
                f"prune: {name}: no layer is left whose channels may be cut; spare "
                "fewer (keep), or choose another network"
            )
        return groups, Layout(net, groups, size=self.size)

    def scores(self, net: nn.Module, groups: Sequence[Group]) -> list[torch.Tensor]:
        """What each unit is worth, by the criterion of the recipe."""
        if self.options.criterion == "missed":
            return missed(net, groups, self.images)
        gradients = None
        if CRITERIA[self.options.criterion].needs_gradients:
            if not self.data.judges(len(self.whole.classes)):
                raise RecipeError(
                    f"criterion: {self.options.criterion} needs labels that the "
                    f"network knows, and {self.data.name} has others; use l2 or fpgm"
                )
            labels = torch.from_numpy(self.shown.labels)
            shares = torch.split(labels, len(next(self.images())))
            gradients = gradients_of(net, zip(self.images(), shares, strict=True))
        return scores(
            net,
            groups,
            self.options.criterion,
            rng=torch.Generator().manual_seed(self.job.seed),
            gradients=gradients,
        )

    def kept(
        self,
        net: nn.Module,
        layout: Layout,
        values: list[torch.Tensor],
        step: int,
    ) -> list[int]:
        """How many units each group keeps after this step."""
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
            self.timely = self.deadline.choose(
                net,
                layout,
                values,
                allowed=ranking.allowed,
                share=step / options.steps,
            )
            return list(self.timely.kept)
        if options.ratio is not None:
            return ranking.kept(1 - (1 - options.ratio) ** (1 / options.steps))
        cost, most, unit = asked_for(options, self.whole.net, layout, size=self.size)
        if options.criterion == "missed":
            # These scores are in one currency, so they may be set against the price.
            ranking = ranking.by_price(cost)
        # Equal factors, so that no step asks for more than another.
        share = 1 / (options.steps - step + 1)
        now = cost(layout.full)
        return ranking.within(cost, now * min(1.0, most / now) ** share, unit=unit)

    def multiple(self) -> int:
        """What the channels that are left are a multiple of."""
        asked = self.options.round_to
        return math.lcm(asked, MULTIPLE) if self.deadline else asked

    def trained(self, model: Model, here: Job, epochs: int) -> Model:
        """`model` taught by the whole network, and by the labels."""
        if not epochs:
            return model
        options = self.options.model_copy(update={"epochs": epochs})
        opened = self.data.open(model.preprocess)
        views: int | None = 1
        if options.mixup or options.cutmix:
            views = None  # mixed images have no answers to keep
        elif augmentation(opened, options) is not None:
            views = min(_VIEWS, epochs)
        loss = taught(
            self.whole,
            opened,
            here,
            options,
            share=options.distill,
            temperature=options.temperature,
            views=views,
        )
        return fit(model, opened, loss, options, here, views=views)

    def recorded(self, net: nn.Module, removed: tuple[str, ...]) -> Model:
        """The model around `net`, and what makes its architecture into that."""
        spec = self.whole.spec
        kept = self.whole.surgery.without(removed).model_copy(update={"widths": {}})
        bare = skeleton(
            spec.with_surgery(kept), classes=len(self.whole.classes), size=self.size
        )
        widths = widths_between(bare, net)
        return self.whole.operated(net, kept.model_copy(update={"widths": widths}))

    def tell(
        self,
        before: nn.Module,
        bare: nn.Module,
        after: nn.Module,
        layout: Layout,
        kept: Sequence[int],
    ) -> None:
        """Say and keep what a cut took, and what was changed by it."""
        flips = [self.flips(before, net) for net in (bare, after)]
        macs = layout.macs(kept) / layout.macs(layout.full)
        self.steps.append(
            {
                "macs": layout.macs(kept),
                "params": layout.params(kept),
                "flips_cut": flips[0],
                "flips_recovered": flips[1],
                "latency": self.timely.as_record() if self.timely else None,
                "channels": {
                    group.name: [group.units * unit, units * unit]
                    for group, unit, units in zip(
                        layout.groups, layout.unit, kept, strict=True
                    )
                },
            }
        )
        self.job.screen.tell(
            f"prune: {macs:.1%} of the MACs left; the cut changed {flips[0]:.1%} of "
            f"the answers, {flips[1]:.1%} after recovery ({self.options.recover})"
        )

    def flips(self, one: nn.Module, other: nn.Module) -> float:
        """The share of images that two networks answer differently."""
        changed = count = 0
        with torch.inference_mode():
            for batch in self.images():
                changed += int((one(batch).argmax(1) != other(batch).argmax(1)).sum())
                count += len(batch)
        return changed / count

    def record(self, model: Model) -> dict[str, object]:
        """What was done, for the report."""
        return {
            "surgery": model.surgery.model_dump(mode="json"),
            "steps": self.steps,
        }
