"""The stage `sparsify` at work: choose weights, let them go, write down what stays."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from compress.context.context import is_main_process
from compress.int8.simulate import QuantizedNet
from compress.sparsity.goal import Goal, SparsitySchedule, weights_of, zeros_in
from compress.sparsity.masks import apply_
from compress.sparsity.record import RECORD
from compress.training.distillation import taught
from compress.training.fit import fit
from runtime.errors import RecipeError
from runtime.files import write_json

if TYPE_CHECKING:
    from torch import nn

    from compress.context.context import RunContext
    from compress.data.dataset import Catalog
    from compress.models.model import Model
    from compress.recipe.sparsify import Sparsify


def sparsified(
    model: Model, data: Catalog, context: RunContext, options: Sparsify
) -> Model:
    """`model` with zeros as `options` say; its record names what is masked."""
    check(model, options)
    goal = goal_of(model.net, options)
    masked = {**model.surgery.masked, **dict.fromkeys(goal.names, goal.pattern)}
    surgery = model.surgery.model_copy(update={"masked": masked})
    net = copy.deepcopy(model.net)
    gradual = options.thinning == "cubic" and options.epochs > 0
    if not gradual:
        apply_(net, goal.masks(net, goal.sparsity))
    made = model.operated(net, surgery)
    if options.epochs > 0:
        opened = data.open(model.preprocess)
        loss = taught(
            model,
            opened,
            context,
            options,
            share=options.distill,
            temperature=options.temperature,
        )
        thinning = (
            SparsitySchedule(goal=goal, until=options.thin_until) if gradual else None
        )
        made = fit(made, opened, loss, options, context, thinning=thinning)
    if is_main_process():
        write_json(context.folder / RECORD, found_in(made.net, goal), sealed=True)
    return made


def check(model: Model, options: Sparsify) -> None:
    """Refuse what would only come out after the training."""
    if isinstance(model.net, QuantizedNet):
        raise RecipeError(
            f"sparsify: {model.spec.name} is INT8 and does not learn; sparsify the "
            "float model it was made from, and quantize that"
        )
    if options.patience is not None and options.thinning == "cubic":
        raise RecipeError(
            "patience: the best epoch may lie before the last weights are gone; leave "
            "it out, or thin one-shot"
        )


def goal_of(net: nn.Module, options: Sparsify) -> Goal:
    """Which weights of `net` are to become zero under `options`.

    A layer whose channels are no multiple of a pattern's group or of a block stays
    dense. A name that is no layer, or nothing left to thin, is a RecipeError.
    """
    weights = weights_of(net)
    spared = {f"{layer}.weight" for layer in options.exclude}
    for name in sorted(spared - weights.keys()):
        known = ", ".join(each.removesuffix(".weight") for each in weights)
        raise RecipeError(
            f"exclude: no layer {name.removesuffix('.weight')!r} with weights; known: "
            f"{known}"
        )
    kept, of = map(int, (options.pattern or "1:1").split(":"))
    names = tuple(
        name
        for name, weight in weights.items()
        if name not in spared
        and weight.shape[1] % of == 0
        and weight.shape[0] % options.block == 0
    )
    if not names:
        places = options.pattern or f"blocks of {options.block}"
        raise RecipeError(
            f"sparsify: no layer of {type(net).__name__} has channels that suit "
            f"{places}; choose another pattern or block, or exclude fewer layers"
        )
    return Goal(
        names=names,
        sparsity=1 - kept / of if options.sparsity is None else options.sparsity,
        scope=options.scope,
        of=None if options.pattern is None else of,
        block=options.block,
    )


def found_in(net: nn.Module, goal: Goal) -> dict[str, object]:
    """How many zeros there are, in all weights and in those of each layer."""
    weights = weights_of(net)
    return {
        "pattern": goal.pattern,
        "weights": sum(weight.numel() for weight in weights.values()),
        "zeros": zeros_in(weights.values()),
        "layers": [
            {
                "name": name.removesuffix(".weight"),
                "masked": name in goal.names,
                "weights": weight.numel(),
                "zeros": zeros_in([weight]),
            }
            for name, weight in weights.items()
        ],
    }
