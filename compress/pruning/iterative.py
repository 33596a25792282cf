"""The stage `prune` at work: fade, cut, recover, train; step after step, each once."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Final

from compress.context.context import is_main_process
from compress.int8.simulate import QuantizedNet
from compress.models.checkpoint import is_model, load_model, save_model
from compress.models.construct import skeleton
from compress.models.surgery.differences import widths_between
from compress.pruning.blocks import without_blocks
from compress.pruning.lasso import sparse_penalty
from compress.pruning.pruner import Pruner
from compress.pruning.record import RECORD, PruningStep, written
from compress.training.distillation import taught
from compress.training.fit import fit
from compress.training.resume import forget_state
from compress.training.views import augmentation
from runtime.errors import RecipeError
from runtime.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from compress.context.context import RunContext
    from compress.data.dataset import Catalog
    from compress.models.model import Model
    from compress.recipe.prune import Prune
    from compress.training.penalty import Penalty

# Augmentations of each image whose answers the teacher gives once and for all.
_VIEWS: Final = 4


def pruned(model: Model, data: Catalog, context: RunContext, options: Prune) -> Model:
    """`model` cut as `options` say; what was cut is written to `context.folder`."""
    if isinstance(model.net, QuantizedNet):
        raise RecipeError(
            f"prune: {model.spec.name} is quantized already, and its grids belong to "
            "the channels it has; prune the float model, then quantize that"
        )
    return _Pruning(model, data, context, options).carry_out()


class _Pruning:
    """One call of `pruned`: the whole network, what cuts it, how far it has come."""

    def __init__(
        self, model: Model, data: Catalog, context: RunContext, options: Prune
    ) -> None:
        self.whole, self.data, self.context, self.options = (
            model,
            data,
            context,
            options,
        )
        self.cutter = Pruner(model, data, context, options)
        self.removed: tuple[str, ...] = ()
        self.cuts: list[PruningStep] = []

    def carry_out(self) -> Model:
        """Blocks first, then channels, then the last training."""
        options = self.options
        net = self.whole.net
        if options.blocks:
            shorter = without_blocks(net, options.blocks, self.cutter.images)
            net, self.removed = shorter.net, shorter.removed
            self.context.console.tell(f"prune: without {', '.join(shorter.removed)}")
        model = self.recorded(net)
        if options.sparse_epochs:
            here = self.context.within("sparse", title="sparse")
            model = self.once(here, partial(self.faded, model, here))
        for step in range(1, options.steps):
            here = self.context.within(f"step-{step}", title="step")
            model = self.thinner(model, step, here)
            epochs = options.step_epochs
            model = self.once(here, partial(self.trained, model, here, epochs))
        model = self.thinner(model, options.steps, self.context)
        model = self.trained(model, self.context, options.epochs)
        if is_main_process():
            same = self.context.aim.dtype == "float32"
            record = written(self.whole, model, options, self.cuts, as_shipped=same)
            write_json(self.context.folder / RECORD, record, sealed=True)
        return model

    def once(self, here: RunContext, make: Callable[[], Model]) -> Model:
        """What `make` makes, kept in `here`, and taken from there another time."""
        if is_model(here.folder):
            factory = self.whole.spec.factory
            return self.recorded(load_model(here.folder, factory=factory).net)
        made = make()
        if is_main_process():
            save_model(made, here.folder)
            forget_state(here.folder)
        return made

    def faded(self, model: Model, here: RunContext) -> Model:
        """`model` trained so that channels fade that it can do without."""
        options = self.options
        penalty = sparse_penalty(
            model.net,
            self.cutter.groups(model.net),
            strength=options.sparse_penalty,
            scales=options.criterion == "bn",
        )
        return self.trained(model, here, options.sparse_epochs, penalty)

    def thinner(self, model: Model, step: int, here: RunContext) -> Model:
        """`model` after the cut of a step, which is made once.

        Were it made again when an interrupted run goes on, latencies taken anew might
        choose other widths, and what was trained so far would not fit them.
        """
        here = here.within("cut", title="cut")

        def make() -> Model:
            net, one = self.cutter.prune_step(model.net, step)
            self.cuts.append(one)
            if is_main_process():
                kept = one.model_dump(mode="json")
                write_json(here.folder / RECORD, kept, sealed=True)
            return self.recorded(net)

        found = self.once(here, make)
        if len(self.cuts) < step:  # it was made earlier
            record = read_json(here.folder / RECORD)
            self.cuts.append(PruningStep.model_validate_json(json.dumps(record)))
            self.cutter.sensitive = self.cuts[-1].spared
        return found

    def trained(
        self,
        model: Model,
        here: RunContext,
        epochs: int,
        penalty: Penalty | None = None,
    ) -> Model:
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
        return fit(model, opened, loss, options, here, views=views, penalty=penalty)

    def recorded(self, net: nn.Module) -> Model:
        """The model around `net`, and what makes its architecture into that."""
        spec = self.whole.spec
        kept = self.whole.surgery.without(self.removed).model_copy(
            update={"widths": {}}
        )
        bare = skeleton(
            spec.with_surgery(kept),
            classes=len(self.whole.classes),
            size=self.whole.preprocess.size,
        )
        widths = widths_between(bare, net)
        return self.whole.operated(net, kept.model_copy(update={"widths": widths}))
