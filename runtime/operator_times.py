"""How long each operator of an ONNX file takes while the whole file runs."""

import json
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from runtime.artifact import Artifact
from runtime.backends.ort import OrtSession

# The first inferences lay out memory.
_WARM_UP: Final = 2
_EVENT: Final = "_kernel_time"


@dataclass(frozen=True, kw_only=True)
class OperatorTime:
    """One operator as the runtime ran it, a sample each round.

    name: of a node in the file, perhaps with a suffix; what the runtime fused is called
    after one of its nodes, what it added after nothing in the file.
    """

    name: str
    samples_us: tuple[int, ...]


def operator_times(
    path: Path, *, threads: int, rounds: int, rng: np.random.Generator
) -> tuple[OperatorTime, ...]:
    """Time `rounds` inferences of the file at `path`, on random numbers.

    Operators come in the order in which they run. Their caches are as warm as in use,
    which a layer timed by itself cannot show.
    """
    found: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        session = OrtSession(
            Artifact.read(path), threads=threads, trace=Path(folder) / "trace"
        )
        with closing(session):
            shape = session.input_shape
            call = session.bind(rng.standard_normal(shape, dtype=np.float32))
            for _ in range(rounds + _WARM_UP):
                call()
            events = json.loads(session.end_trace().read_text(encoding="utf-8"))
    for event in events:
        name = str(event["name"])
        if event.get("cat") == "Node" and name.endswith(_EVENT):
            found.setdefault(name.removesuffix(_EVENT), []).append(event["dur"])
    return tuple(
        OperatorTime(name=name, samples_us=tuple(samples[_WARM_UP:]))
        for name, samples in found.items()
    )
