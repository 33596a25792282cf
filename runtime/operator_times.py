"""How long each operator of an ONNX file takes while the whole file runs."""

import json
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from runtime.artifact import Artifact
from runtime.backends.ort import CPU, OrtSession

# The first inferences lay out memory.
_WARM_UP: Final = 2
_EVENT: Final = "_kernel_time"


@dataclass(frozen=True, kw_only=True)
class OperatorTime:
    """One operator as the runtime ran it, a sample each round.

    name: of a node in the file, perhaps with a suffix; what the runtime fused is called
    after one of its nodes, what it added after nothing in the file. operator: its kind;
    dtype: of its first input.
    """

    name: str
    samples_us: tuple[int, ...]
    operator: str = ""
    dtype: str = ""


def operator_times(
    path: Path,
    *,
    threads: int,
    rounds: int,
    rng: np.random.Generator,
    provider: str = CPU,
) -> tuple[OperatorTime, ...]:
    """Time `rounds` inferences of the file at `path`, on random numbers.

    Operators come in the order in which they run. Their caches are as warm as in use,
    which a layer timed by itself cannot show.
    """
    found: dict[str, list[int]] = {}
    kinds: dict[str, tuple[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        session = OrtSession(
            Artifact.read(path),
            threads=threads,
            provider=provider,
            trace=Path(folder) / "trace",
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
            name = name.removesuffix(_EVENT)
            found.setdefault(name, []).append(event["dur"])
            kinds.setdefault(name, _kind(event.get("args", {})))
    return tuple(
        OperatorTime(
            name=name,
            samples_us=tuple(samples[_WARM_UP:]),
            operator=kinds[name][0],
            dtype=kinds[name][1],
        )
        for name, samples in found.items()
    )


def _kind(told: Mapping[str, object]) -> tuple[str, str]:
    """Operator and dtype; each input is told as {dtype: shape}."""
    shapes = told.get("input_type_shape")
    listed = shapes if isinstance(shapes, list) else []
    dtype = next((str(next(iter(each))) for each in listed if each), "")
    return str(told.get("op_name", "")), {"float": "float32"}.get(dtype, dtype)
