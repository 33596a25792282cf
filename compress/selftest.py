"""The self-test of a file: a few held-out images, and what its network says to them."""

import copy
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from compress.data.batches import evaluation_batches
from compress.data.catalogue import Catalogue
from compress.exports import Wanted, rounds_answer
from compress.int8.kernels import quantize
from compress.int8.simulate import QuantizedNet
from compress.jitter import unsteadiness
from compress.parity import reference_net, thinned
from compress.recipe import Export
from runtime.artifact import Artifact, Dtype
from runtime.selftest import (
    IMAGES,
    WIDEST,
    Pixels,
    Scores,
    SelfTest,
    enlarged,
    kept_outputs,
    largest_score,
    reduced,
    side_for,
)
from runtime.session import Session

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
_PARTS: Final = 16  # of a step, to which scores that hang on a last bit are rounded
_CANDIDATES: Final = 8  # images, of which the steadiest are kept
_OWN_STEPS: Final = 2
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

    None where `export` wants none, where answers are no scores, which whoever writes
    or proves the file refuses, and where steps of INT8 are too coarse for a test.
    """
    if not export.selftest:
        return None
    model, dtype = asked.model, asked.dtype
    size = model.preprocess.size
    shown = thinned(data.images(model.preprocess), _CANDIDATES)
    pixels = next(iter(evaluation_batches(shown, _CANDIDATES))).pixels
    weights = sum(each.numel() for each in model.net.parameters()) * _BYTES[dtype]
    small = reduced(pixels.permute(0, 2, 3, 1).numpy(), side_for(weights, size=size))
    fed = torch.from_numpy(enlarged(small, size)).permute(0, 3, 1, 2)
    batch = model.prepare(fed).contiguous()
    net = reference_net(asked.reference, left_float)
    answer = _answer(net, batch)
    if not isinstance(answer, Tensor) or answer.dim() != 2 or not answer.numel():  # noqa: PLR2004  # [n, classes]
        return None
    scores = answer.float()
    if not bool(scores.isfinite().all()):
        return None
    step = _step(asked, scores.numpy())
    if step is None or not isinstance(net, QuantizedNet):
        chosen, most = _spread(len(batch)), 0.0
    else:
        with torch.inference_mode():
            moved = unsteadiness(net, batch, scores) / step
        chosen = _steadiest(moved)
        most = float(moved[chosen].max())
    return _written(asked, export, small[chosen], scores[chosen], step, most)


def keep_own_selftest(session: Session, data: Catalogue, export: Export) -> None:
    """Write a self-test into the twin of a file that no network in torch stands for.

    It holds the file's own answers here: whether they are right is not for it to say,
    but whether a device gives them, too.
    """
    if export.selftest:
        test = _own_selftest(session.artifact, session, data)
        made = replace(session.artifact, selftest=test, selftest_inside=False)
        made.write_twin()


def _own_selftest(artifact: Artifact, session: Session, data: Catalogue) -> SelfTest:
    """Images and what the file says to them here."""
    preprocess = artifact.preprocess
    if preprocess is None:
        raise ValueError(artifact.path)
    shown = thinned(data.images(preprocess), IMAGES)
    pixels = next(iter(evaluation_batches(shown, IMAGES))).pixels
    side = side_for(artifact.size_bytes, size=preprocess.size)
    small = reduced(pixels.permute(0, 2, 3, 1).numpy(), side)
    scores = session.run(preprocess(enlarged(small, preprocess.size)))
    outputs = kept_outputs(scores)
    kept = np.ascontiguousarray(scores[:, list(outputs)])
    dtype = artifact.dtype or "float32"
    largest = largest_score(kept)
    step = _least_step(scores) if dtype == "int8" else None
    return SelfTest(
        pixels=small,
        outputs=outputs,
        scores=kept,
        # Steps of the file's own grid may be wider than what these images need.
        tolerance=_FLOAT[dtype] * largest if step is None else _OWN_STEPS * step,
        step=step,
        reference="file",
    )


def _spread(count: int) -> list[int]:
    """Some of so many images, at equal distances."""
    few = min(IMAGES, count)
    return [(2 * at + 1) * count // (2 * few) for at in range(few)]


def _steadiest(moved: Tensor) -> list[int]:
    """Images whose scores hang least on a last bit. moved: [n], in steps of INT8.

    Less than a tenth of a step is none: which images are chosen, and so the file's
    bytes, must not hang on it either.
    """
    tenths = [int(each * 10) for each in moved.tolist()]
    return sorted(sorted(range(len(tenths)), key=tenths.__getitem__)[:IMAGES])


def _written(  # noqa: PLR0913, PLR0917  # the parts of a test
    asked: Wanted,
    export: Export,
    small: Pixels,
    found: Tensor,
    step: float | None,
    moved: float,
) -> SelfTest | None:
    """The test of these images, and how far off a device may be.

    One step in INT8, or twice what float operators within the network move, which is
    `moved` steps; None where that is so much that it would test nothing.
    """
    net = asked.model.net
    grid = net.scheme.logits if isinstance(net, QuantizedNet) else None
    if grid is not None and rounds_answer(asked, export):
        found = quantize(found, grid)
    scores = found.numpy()
    if step is not None and moved:
        parts = step / _PARTS
        scores = (np.rint(scores / parts) * parts).astype(np.float32)
    outputs = kept_outputs(scores)
    kept = np.ascontiguousarray(scores[:, list(outputs)])
    largest = largest_score(kept)
    allowed = _FLOAT.get(asked.dtype, _ROUNDED_READS) * largest
    if step is not None:
        allowed = step * max(1, math.ceil(2 * moved))
    if allowed > WIDEST * largest:
        return None
    return SelfTest(
        pixels=small,
        outputs=outputs,
        scores=kept,
        tolerance=allowed,
        step=step,
    )


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
    return _least_step(scores)


def _least_step(scores: Scores) -> float:
    """The step of the narrowest grid of INT8 on which such scores [n, outputs] lie."""
    return (float(np.ptp(scores)) or largest_score(scores)) / _LEAST_STEPS
