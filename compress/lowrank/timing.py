"""How long a layer takes in ONNX Runtime, and what would take its place, in turn."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from torch import nn

from compress.lowrank.chain import chain
from runtime.session import open_session
from runtime.timing import in_turn, undisturbed_ms

THREADS: Final = 1  # what a report's latencies are taken with
_SECONDS: Final = 0.2  # for each candidate
_WARM_UP: Final = 3


def raced(
    candidates: Sequence[nn.Module], shape: tuple[int, ...], *, rng: np.random.Generator
) -> tuple[float, ...]:
    """The latency of each candidate, ms, all timed in turn, on one image.

    candidates: layers, or sequences of layers, that take float32 of `shape`.
    """
    models = [
        chain([*each] if isinstance(each, nn.Sequential) else [each], shape)
        for each in candidates
    ]
    return latencies_ms(models, rng=rng)


def latencies_ms(
    models: Sequence[onnx.ModelProto], *, rng: np.random.Generator
) -> tuple[float, ...]:
    """The latency of each ONNX model on this machine, ms, all timed in turn."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        calls: list[Callable[[], object]] = []
        for model in models:
            path = folder / "model.onnx"
            onnx.save(model, path)
            session = open_session(path, threads=THREADS)
            opened.enter_context(closing(session))
            shape = session.input_shape
            call = session.bind(rng.standard_normal(shape, dtype=np.float32))
            for _ in range(_WARM_UP):
                call()
            calls.append(call)
        samples = in_turn(calls, seconds=_SECONDS * len(calls), rng=rng)
    return tuple(undisturbed_ms(row) for row in samples)
