"""What no run of a recipe can meet or measure, told before the work, not after it.

What is refused here is a fault of the recipe, like an unknown key, and known without a
measurement; a limit that was measured and missed is the verdict's affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from compress.exports import formats_of
from compress.int8.simulate import QuantizedNet
from compress.lowrank.timing import RUNTIME as LAYERS_BY
from compress.measuring import runtime_of
from compress.models import meta
from compress.prediction.asked import check_can_predict
from compress.pruning.floor import check_floor, least_layout
from compress.pruning.layout import Layout
from compress.stages import QUANTISING
from compress.stages.factorize import Factorize
from compress.stages.prune import Prune
from export.exporters import EXPORTERS
from runtime.errors import MissingDependencyError, RecipeError
from runtime.machine import this_machine
from runtime.target import LOCAL, target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from compress.models.model import Model
    from compress.recipe import Export, Recipe
    from compress.stages.stage import Stage
    from runtime.artifact import Dtype
    from runtime.target import Target

# What a weight takes in a file; INT8 may leave layers in float, never the other way.
_BYTES_OF_A_WEIGHT: Final[dict[Dtype, int]] = {
    "float32": 4,
    "float16": 2,
    "dynamic": 1,
    "int8": 1,
}
# Runtimes whose kernels are like those that this machine times.
_RACED: Final = frozenset({"onnxruntime", "litert"})
_NO_DEVICE: Final = {"prune": "--macs 0.5", "factorize": "--energy 0.9"}
# Stages that leave a network's layers as wide as they are.
_KEEP_WIDTHS: Final = frozenset({"finetune", "distill", "sparsify", *QUANTISING})


def check_timed(recipe: Recipe) -> None:
    """Refuse a stage's latency on a target that nobody can measure from here.

    RecipeError, or MissingDependencyError where the target is not this machine.
    """
    export = recipe.export
    for name, stage in recipe.steps():
        if isinstance(stage, Prune) and (stage.latency or stage.latency_ms):
            check_measurable(target(stage.target), export.device, stage=name)
        if isinstance(stage, Factorize) and stage.latency:
            check_measurable(_for_layers(export), export.device, stage=name)


def check_measurable(wanted: Target, device: str | None, *, stage: str) -> None:
    """Refuse a target whose latencies can be taken neither on `device` nor here."""
    if wanted.runtime not in _RACED:
        why = f"{wanted.runtime} runs on the device alone"
    elif device is not None:
        return
    else:
        lacking = wanted.lacking(this_machine())
        if lacking is None:
            return
        why = lacking
    raise MissingDependencyError(
        f"{stage}: target {wanted.name!r} cannot be measured from here ({why}); name a "
        "device that can (--device pi5), run this command there, or give a budget that "
        f"needs no device, such as {_NO_DEVICE[stage]}"
    )


def _for_layers(export: Export) -> Target:
    """What single layers are timed for; RecipeError for what does not run them."""
    if runtime_of(export) != LAYERS_BY or len(export.target) > 1:
        found = ", ".join(f"{name} ({target(name).runtime})" for name in export.target)
        raise RecipeError(
            f"factorize: layers are timed by {LAYERS_BY} and for one target, found "
            f"{found}; name one that it runs, or give --energy instead of --latency"
        )
    return target(export.target[0] if export.target else LOCAL)


def check_reachable(recipe: Recipe, model: Model) -> None:
    """Refuse a cut, or a size of the file, that lies below what `model` can become.

    Only what is certain: where stages leave open how small a network gets, nothing is
    said.
    """
    check_can_predict(recipe.limits())
    size = model.preprocess.size
    if isinstance(model.net, QuantizedNet):
        return
    if meta.outputs(meta.on_meta(model.net), size) is None:
        return  # its layers depend on what an image shows
    steps = tuple(recipe.steps())
    cut = _first_cut(steps)
    if cut is not None:
        check_floor(model, cut)
    most = recipe.limits().size_bytes
    if most is None or any(
        name not in _KEEP_WIDTHS and stage is not cut for name, stage in steps
    ):
        return
    dtype = _smallest(recipe, steps)
    least = weights_left(model, cut) * _BYTES_OF_A_WEIGHT[dtype]
    if least > most:
        fewer = "" if cut is None else " with every layer cut to its least width"
        raise RecipeError(
            f"budget.size_bytes: {most:,} bytes cannot be met: the weights of "
            f"{model.spec.name} alone are {least:,} bytes in {dtype}{fewer}; allow "
            "more, quantise, prune, or choose a smaller network"
        )


def _first_cut(steps: Sequence[tuple[str, Stage]]) -> Prune | None:
    """The first cut, if it is made in the layers that the run begins with."""
    for name, stage in steps:
        if isinstance(stage, Prune):
            return None if stage.blocks else stage
        if name not in _KEEP_WIDTHS:
            return None
    return None


def _smallest(recipe: Recipe, steps: Sequence[tuple[str, Stage]]) -> Dtype:
    """The number format of the smallest file that the recipe may ask for."""
    quantised = any(name in QUANTISING for name, _ in steps)
    asked = recipe.export.dtype or (("int8",) if quantised else ("float32",))
    formats = formats_of(recipe.export)
    written = {dtype for each in formats for dtype in EXPORTERS[each].dtypes}
    return min(
        (dtype for dtype in asked if dtype in written),
        key=_BYTES_OF_A_WEIGHT.__getitem__,
        default="int8",
    )


def weights_left(model: Model, cut: Prune | None) -> int:
    """How many weights of layers any file of `model` holds after `cut`, at the least.

    Biases and norms are folded into others, and layers that do not reach the answer
    are left out of files: neither counts.
    """
    layout, kept = (
        (Layout(model.net, (), size=model.preprocess.size), ())
        if cut is None
        else least_layout(model, cut)
    )
    used = _reaching(model.net, size=model.preprocess.size)
    modules = dict(model.net.named_modules())
    counts = {
        id(modules[layer.name].weight): layer.weights - layer.biased * layer.outputs
        for layer in layout.layers(kept)
        if layer.name in used
    }
    return sum(counts.values())  # a weight that two layers share is one


def _reaching(net: nn.Module, *, size: int) -> set[str]:
    """Modules whose weight the answer depends on, as its gradient tells.

    None of them, if there is no gradient to ask for: nothing is certain then.
    """
    shadow = meta.on_meta(net)
    try:
        shadow.requires_grad_(requires_grad=True)
        with torch.enable_grad(), meta.evaluating(shadow):
            shadow(meta.images(1, size)).sum().backward()
    except RuntimeError:
        return set()
    return {
        name
        for name, module in shadow.named_modules()
        if isinstance(weight := getattr(module, "weight", None), torch.nn.Parameter)
        and weight.grad is not None
    }
