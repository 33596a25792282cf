"""How long a layer takes in ONNX Runtime, and what would take its place, in turn.

They are timed on the device that measures the run's files, unless another runtime
executes those there; then, and where none is named, on this machine.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from torch import nn

from compress.aim import Aim
from compress.job import Job
from compress.lowrank.chain import chain
from compress.measuring import raced_ms
from compress.screen import Screen
from runtime.session import open_session
from runtime.timing import in_turn, undisturbed_ms

RUNTIME: Final = "onnxruntime"
THREADS: Final = 1  # what a report's latencies are taken with
_SECONDS: Final = 0.2  # for each candidate here
_ROUNDS: Final = 40  # of all of them elsewhere
_WARM_UP: Final = 3


def raced(
    candidates: Sequence[nn.Module],
    shape: tuple[int, ...],
    *,
    job: Job,
    rng: np.random.Generator,
) -> tuple[float, ...]:
    """The latency of each candidate, ms, all timed in turn, on one image.

    candidates: layers, or sequences of layers, that take float32 of `shape`.
    """
    models = [
        chain([*each] if isinstance(each, nn.Sequential) else [each], shape)
        for each in candidates
    ]
    return latencies_ms(models, job=job, rng=rng)


def latencies_ms(
    models: Sequence[onnx.ModelProto], *, job: Job, rng: np.random.Generator
) -> tuple[float, ...]:
    """The latency of each ONNX model, ms, all timed in turn."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.onnx" for number in range(len(models))]
        for path, model in zip(files, models, strict=True):
            onnx.save(model, path)
        if (device := device_of(job.aim)) is None:
            return _here_ms(files, rng=rng)
        found = raced_ms(
            device,
            files,
            threads=job.aim.threads,
            seed=job.seed,
            screen=_Aside(job.screen),
            runs=_ROUNDS,
            runtime=RUNTIME,
        )
    return tuple(found)


def device_of(aim: Aim) -> str | None:
    """The device that layers are timed on; None for this machine."""
    return aim.device if aim.runtime == RUNTIME else None


@dataclass(frozen=True)
class _Aside:
    """Tells what a device does only to those who want every detail: there is a lot."""

    screen: Screen

    def tell(self, sentence: str) -> None:
        """Say one sentence."""
        self.screen.detail(sentence)


def _here_ms(files: Sequence[Path], *, rng: np.random.Generator) -> tuple[float, ...]:
    """Latencies on this machine."""
    with ExitStack() as opened:
        calls: list[Callable[[], object]] = []
        for path in files:
            session = open_session(path, threads=THREADS)
            opened.enter_context(closing(session))
            shape = session.input_shape
            call = session.bind(rng.standard_normal(shape, dtype=np.float32))
            for _ in range(_WARM_UP):
                call()
            calls.append(call)
        samples = in_turn(calls, seconds=_SECONDS * len(calls), rng=rng)
    return tuple(undisturbed_ms(row) for row in samples)
