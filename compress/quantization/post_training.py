"""The stage `ptq` at work: calibrate, quantize, let the doctor help, write it down."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from compress.data.calibration import calibration_images
from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.rules import pixel_levels
from compress.models.batches import batches_of
from compress.models.stage_result import StageResult
from compress.quantization.accuracy_recovery import (
    Limits,
    Recovered,
    recover_accuracy,
)
from compress.quantization.finish import evaluator_for, findings, with_logits
from compress.quantization.ptq import Methods, quantized

if TYPE_CHECKING:
    from collections.abc import Callable

    from compress.context.console import Console
    from compress.context.context import RunContext
    from compress.data.dataset import Dataset
    from compress.int8.simulate import QuantizedNet
    from compress.models.model import Model
    from compress.quantization.evaluator import Metric
    from compress.recipe.ptq import Ptq


def post_training(
    model: Model,
    data: Dataset,
    context: RunContext,
    options: Ptq,
    *,
    metric: Metric | None = None,
) -> StageResult:
    """Post-training quantization: `model` in INT8, as `options` say.

    metric: judges it instead of top-1.
    """
    images = calibration_images(
        data,
        model.preprocess,
        context,
        source=options.calib,
        count=options.calib_images,
    )
    batches = batches_of(model, images)
    graph = captured(model.net, size=model.preprocess.size, name=model.spec.name)
    canonical_(graph)
    judge = evaluator_for(model, data, context, metric)
    methods = Methods(
        ranges=options.ranges,
        equalize=options.equalize,
        correct_bias=options.correct_bias,
        learn_rounding=options.learn_rounding,
    )
    levels = pixel_levels(model.preprocess.mean, model.preprocess.std)
    context.console.tell(f"ptq: {len(images)} calibration images")
    rungs: list[dict[str, object]] = []
    limits = Limits(accuracy_drop=options.accuracy_drop, flips=options.flips)
    if limits == Limits():
        net = quantized(
            graph, batches, methods=methods, levels=levels, say=context.console.detail
        )
    else:
        healed = recover_accuracy(
            graph,
            batches,
            judge,
            limits=limits,
            methods=methods,
            levels=levels,
            train=short_training(model, data, context),
            say=context.console.tell,
        )
        net, rungs = healed.net, [each.as_record() for each in healed.rungs]
        say_how(healed, limits, context.console)
    net = with_logits(net, batches)
    return StageResult(
        model=replace(model, net=net.eval(), trained=True),
        findings=findings(graph, net, judge, batches, rungs, context),
    )


def say_how(found: Recovered, limits: Limits, console: Console) -> None:
    """Say what speaks against an accuracy that was recovered."""
    if len(found.rungs) > 1:
        console.doubt(
            "ptq: the images that tell INT8's accuracy also chose it among "
            f"{len(found.rungs)} attempts, which flatters it; other images tell more"
        )
    if not found.holds:
        console.tell(
            f"ptq: no rung of the ladder has {limits.as_text()}; the best one is kept"
        )


def short_training(
    model: Model, data: Dataset, context: RunContext
) -> Callable[[QuantizedNet], QuantizedNet] | None:
    """The doctor's last resort: an epoch of QAT; None without training images."""
    if data.train is None or not data.judges(len(model.classes)):
        return None

    def train(best: QuantizedNet) -> QuantizedNet:
        from compress.quantization.qat_training import quantization_aware_training
        from compress.recipe.qat import Qat

        del best  # QAT starts from the float network and finds grids of its own
        here = context.within("short-qat", title="short QAT")
        made = quantization_aware_training(model, data, here, Qat(epochs=1))
        return cast("QuantizedNet", made.model.net)

    return train
