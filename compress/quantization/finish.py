"""What PTQ and QAT end with: a grid for the answer, and what INT8 kept of float."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor, fx, nn

from compress.context.progress import passed
from compress.evaluation.scores import network_scores
from compress.int8.float_operators import float_operators
from compress.int8.grids import grid_between
from compress.int8.simulate import QuantizedNet
from compress.models.stage_result import Findings
from compress.quantization.evaluator import Evaluator, Metric, evaluator_of
from compress.quantization.tensor_errors import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compress.context.context import RunContext
    from compress.data.dataset import Dataset
    from compress.models.model import Model
    from compress.quantization.calibrate import Batches

_LOOKED_AT: Final = 64  # images that the table of operators is made from


def evaluator_for(
    model: Model, data: Dataset, context: RunContext, metric: Metric | None = None
) -> Evaluator:
    """What tells how much of the float network's answers a quantized one keeps.

    metric: of the user's own, which knows what the labels mean; by default top-1.
    """
    images = data.images(model.preprocess)

    def ask(net: nn.Module) -> Tensor:
        return torch.from_numpy(network_scores(net, model, images, context.memo))

    fit = metric is not None or data.judges(len(model.classes))
    labels = torch.from_numpy(np.asarray(images.labels)) if fit else None
    return evaluator_of(model.net, ask, labels, metric)


def with_logits(net: QuantizedNet, images: Batches) -> QuantizedNet:
    """`net` with a grid for its answer, its whole range, for files that end in int8."""
    low = high = 0.0
    with torch.inference_mode():
        for batch in passed("measuring the range of the answer", images()):
            scores = net(batch)
            low, high = min(low, float(scores.min())), max(high, float(scores.max()))
    scheme = replace(net.scheme, logits=grid_between(low, high))
    return QuantizedNet(net.graph, scheme)


def findings(  # noqa: PLR0913, PLR0917  # everything the record is made of
    graph: fx.GraphModule,
    net: QuantizedNet,
    judge: Evaluator,
    images: Batches,
    rungs: list[dict[str, object]],
    context: RunContext,
) -> Findings:
    """What was found: verdict, rungs, operators, what stays float."""
    verdict = judge(net)
    few = list(fewer(images, _LOOKED_AT)())
    record = {
        "float32": judge.float32.as_record(),
        "int8": verdict.as_record(),
        "rungs": rungs,
        "operators": [each.as_record() for each in table(graph, net, lambda: few)],
        "float_operators": list(float_operators(net)),
    }
    context.console.tell(
        f"{context.title}: {verdict.lost} on {verdict.images} "
        f"held-out images, SQNR {verdict.sqnr_db:.1f} dB"
    )
    return Findings(kind="quantisation", record=record)


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
