"""The stage `ptq` at work: calibrate, quantize, let the doctor help, write it down."""

from __future__ import annotations

from dataclasses import replace
from operator import length_hint
from typing import TYPE_CHECKING, Final, cast

import torch
from torch import Tensor, fx

from compress.context.progress import Counted, passed
from compress.data.batches import evaluation_batches
from compress.data.calibration import batches_of, calibration_images
from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.float_operators import float_operators
from compress.int8.grids import grid_between
from compress.int8.rules import pixel_levels
from compress.int8.simulate import QuantizedNet
from compress.quantization.accuracy_recovery import Limits, recover_accuracy
from compress.quantization.evaluator import Evaluator, evaluator_of
from compress.quantization.ptq import Methods, quantized
from compress.quantization.record import RECORD
from compress.quantization.tensor_errors import table
from runtime.errors import RecipeError
from runtime.files import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from compress.context.context import RunContext
    from compress.data.dataset import Catalog
    from compress.models.model import Model
    from compress.quantization.calibrate import Batches
    from compress.recipe.ptq import Ptq

_BATCH: Final = 32
_LOOKED_AT: Final = 64  # images that the table of operators is made from


def post_training(
    model: Model, data: Catalog, context: RunContext, options: Ptq
) -> Model:
    """`model` in INT8, as `options` say; what was found goes to `context.folder`."""
    if isinstance(model.net, QuantizedNet):
        raise RecipeError(
            f"ptq: {model.spec.name} is quantized already; quantize the float model it "
            "was made from"
        )
    images = calibration_images(
        model, data, context, source=options.calib, count=options.calib_images
    )
    batches = batches_of(model, images)
    graph = captured(model.net, size=model.preprocess.size, name=model.spec.name)
    canonical_(graph)
    judge = evaluator_for(graph, model, data)
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
        if not healed.holds:
            context.console.tell(
                f"ptq: no rung of the ladder has {limits.as_text()}; the best one is "
                "kept"
            )
    net = with_logits(net, batches)
    write_down(graph, net, judge, batches, rungs, context)
    return replace(model, net=net.eval(), trained=True)


def evaluator_for(graph: fx.GraphModule, model: Model, data: Catalog) -> Evaluator:
    """What tells how much of the float network's answers a quantized one keeps."""
    held_out = data.images(model.preprocess)

    def shown() -> Iterator[tuple[Tensor, Tensor]]:
        given = evaluation_batches(held_out, _BATCH)
        pairs = ((model.prepare(batch.pixels), batch.labels) for batch in given)
        return Counted(pairs, length_hint(given))

    return evaluator_of(graph, shown, labels_fit=data.judges(len(model.classes)))


def short_training(
    model: Model, data: Catalog, context: RunContext
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
        return cast("QuantizedNet", made.net)

    return train


def with_logits(net: QuantizedNet, images: Batches) -> QuantizedNet:
    """`net` with a grid for its answer, its whole range, for files that end in int8."""
    low = high = 0.0
    with torch.inference_mode():
        for batch in passed("measuring the range of the answer", images()):
            scores = net(batch)
            low, high = min(low, float(scores.min())), max(high, float(scores.max()))
    scheme = replace(net.scheme, logits=grid_between(low, high))
    return QuantizedNet(net.graph, scheme)


def write_down(  # noqa: PLR0913, PLR0917  # everything the record is made of
    graph: fx.GraphModule,
    net: QuantizedNet,
    judge: Evaluator,
    images: Batches,
    rungs: list[dict[str, object]],
    context: RunContext,
) -> None:
    """Keep what was found beside the model: verdict, rungs, operators, floats."""
    verdict = judge(net)
    few = list(fewer(images, _LOOKED_AT)())
    write_json(
        context.folder / RECORD,
        {
            "float32": judge.float32.as_record(),
            "int8": verdict.as_record(),
            "rungs": rungs,
            "operators": [each.as_record() for each in table(graph, net, lambda: few)],
            "float_operators": list(float_operators(net)),
        },
        sealed=True,
    )
    context.console.tell(
        f"{context.title}: {verdict.lost} on {verdict.images} "
        f"held-out images, SQNR {verdict.sqnr_db:.1f} dB"
    )


def fewer(images: Batches, most: int) -> Batches:
    """The first `most` images."""

    def batches() -> Iterator[Tensor]:
        left = most
        for batch in images():
            if left <= 0:
                return
            yield batch[:left]
            left -= len(batch)

    return batches
