"""The self-test of a file: a few held-out images, and what its network says to them."""

import copy
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from compress.data.batches import evaluation_batches
from compress.data.catalogue import Catalogue
from compress.exports import Wanted
from compress.int8.kernels import quantize
from compress.int8.simulate import QuantizedNet
from compress.parity import reference_net, thinned
from compress.recipe import Export
from runtime.artifact import Dtype
from runtime.selftest import (
    IMAGES,
    Scores,
    SelfTest,
    enlarged,
    kept_outputs,
    reduced,
    side_for,
)

# Of the largest score. No other order of a float sum, and no other library of
# activations, costs a thousandth; weights in 16 and 8 bits are no mistake of a device.
_FLOAT: Final[Mapping[Dtype, float]] = {
    "float32": 1e-3,
    "float16": 1e-2,
    "dynamic": 0.3,
}
_BYTES: Final[Mapping[Dtype, int]] = {
    "float32": 4,
    "float16": 2,
    "dynamic": 1,
    "int8": 1,
}
# Of the largest score, where kernels go on in float until the next one rounds: in which
# float is TensorRT's choice, and it moves a step here and there.
_ROUNDED_READS: Final = 0.1
_LEAST_STEPS: Final = 255  # between the least and the largest of INT8


def selftest_of(
    asked: Wanted,
    data: Catalogue,
    export: Export,
    *,
    left_float: frozenset[str] = frozenset(),
) -> SelfTest | None:
    """Make the self-test of `asked`, which leaves nodes of its network in float.

    None where `export` wants none, or where answers are no scores, which whoever writes
    or proves the file refuses.
    """
    if not export.selftest:
        return None
    model, dtype = asked.model, asked.dtype
    size = model.preprocess.size
    shown = thinned(data.images(model.preprocess), IMAGES)
    pixels = next(iter(evaluation_batches(shown, IMAGES))).pixels
    weights = sum(each.numel() for each in model.net.parameters()) * _BYTES[dtype]
    small = reduced(pixels.permute(0, 2, 3, 1).numpy(), side_for(weights, size=size))
    fed = torch.from_numpy(enlarged(small, size)).permute(0, 3, 1, 2)
    answer = _answer(
        reference_net(asked.reference, left_float), model.prepare(fed).contiguous()
    )
    if not isinstance(answer, Tensor) or answer.dim() != 2 or not answer.numel():  # noqa: PLR2004  # [n, classes]
        return None
    scores = answer.float().numpy()
    if not np.isfinite(scores).all():
        return None
    step = _step(asked, scores)
    grid = model.net.scheme.logits if isinstance(model.net, QuantizedNet) else None
    if grid is not None and asked.format == "tflite" and export.io == dtype == "int8":
        scores = quantize(torch.from_numpy(scores), grid).numpy()
    outputs = kept_outputs(scores)
    largest = float(np.abs(scores).max()) or 1.0
    return SelfTest(
        pixels=small,
        outputs=outputs,
        scores=np.ascontiguousarray(scores[:, list(outputs)]),
        tolerance=_tolerance(asked) * largest if step is None else step,
        step=step,
    )


def _tolerance(asked: Wanted) -> float:
    """How far a score may lie from the network's, as a share of the largest."""
    return _FLOAT.get(asked.dtype, _ROUNDED_READS)


def _answer(net: nn.Module, batch: Tensor) -> object:
    """What a network says, the same to the bit whatever order its sums are taken in.

    A float network is asked in float64, whose noise float32 does not see: otherwise the
    file's bytes would depend on how tensors lie in memory. The simulation of INT8 is
    made of whole numbers already, and user code may know float32 only.
    """
    with torch.inference_mode():
        if not isinstance(net, QuantizedNet):
            with suppress(RuntimeError):
                return copy.deepcopy(net).eval().double()(batch.double())
        return net(batch)


def _step(asked: Wanted, scores: Scores) -> float | None:
    """How far apart two scores are that INT8 can tell apart; None for a float file.

    None as well where kernels round what they read, not what they write.
    """
    net = asked.model.net
    if asked.dtype != "int8":
        return None
    if isinstance(net, QuantizedNet) and net.scheme.rounding == "on_read":
        return None
    if isinstance(net, QuantizedNet) and net.scheme.logits is not None:
        return net.scheme.logits.scale
    return float(np.ptp(scores)) / _LEAST_STEPS or 1.0
