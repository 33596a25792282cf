"""Times of the layers of an ONNX file: ONNX Runtime's own trace."""

import time
from contextlib import closing
from typing import Final

import numpy as np

from runtime.artifact import Artifact
from runtime.backends.ort import CPU, OrtSession
from runtime.layers import Layer, LayerProfile
from runtime.operator_times import OperatorTime, operator_times

_SECONDS: Final = 3.0
_WARM_UP: Final = 3
_FEWEST, _MOST = 20, 200


def layer_times(
    artifact: Artifact, *, threads: int, variant: str, rng: np.random.Generator
) -> LayerProfile:
    """Time each operator of a file as ONNX Runtime runs it, fused where it fuses."""
    provider = variant or CPU
    session = OrtSession(artifact, threads=threads, provider=provider)
    with closing(session):
        batch = rng.standard_normal(session.input_shape, dtype=np.float32)
        call = session.bind(batch)
        took = []
        for _ in range(_WARM_UP + _FEWEST):
            started = time.perf_counter_ns()
            call()
            took.append(time.perf_counter_ns() - started)
    whole_ns = float(min(took[_WARM_UP:]))  # what nothing else disturbed
    rounds = min(max(int(_SECONDS * 1e9 / max(1.0, whole_ns)), _FEWEST), _MOST)
    found = operator_times(
        artifact.path, threads=threads, rounds=rounds, rng=rng, provider=provider
    )
    return LayerProfile(
        file=artifact.path.name,
        runtime=session.runtime,
        threads=threads,
        how=f"its own trace, the median of {rounds} runs",
        whole_ms=whole_ns / 1e6,
        layers=tuple(map(_layer, found)),
    )


def _layer(operator: OperatorTime) -> Layer:
    """The median of one operator's samples."""
    return Layer(
        name=operator.name,
        operator=operator.operator,
        dtype=operator.dtype,
        ms=float(np.median(operator.samples_us)) / 1e3,
    )
