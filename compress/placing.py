"""Which parts of a quantised network stay float in a file, because that is faster."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compress.exports import Wanted, write
from compress.int8.regions import cuts, gates
from compress.int8.simulate import QuantizedNet, with_qdq
from compress.job import Job
from compress.recipe import Export
from runtime.session import Session, open_session

if TYPE_CHECKING:
    from export.placement import Opener, Placement


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Nodes that stay float, and the timings that say why."""

    left_float: frozenset[str] = field(default_factory=frozenset)
    record: Mapping[str, object] | None = None


def placed(asked: Wanted, job: Job, export: Export, recipe: str) -> Placed:
    """Time parts of the network in float and in INT8 on this machine; keep the faster.

    Less of a network in INT8 is closer to the float one, so that no candidate has to
    be judged again for its accuracy; parity is proven on what was chosen. `export` and
    `recipe` are what the file will be written with.
    """
    from export.placement import FEW, Effort
    from export.placement import placed as search

    net = asked.model.net
    if not isinstance(net, QuantizedNet):
        return Placed()
    job.screen.tell(f"place: {asked.name}, timing parts of it in float and in INT8")
    onnx = asked.format == "onnx"
    found = search(
        _onnx_opener(asked, net) if onnx else _tflite_opener(asked, export, recipe),
        cuts=cuts(net.graph),
        gates=gates(net.graph),
        rng=np.random.default_rng(job.seed),
        effort=Effort() if onnx else FEW,
    )
    return _told(asked, found, job)


def elsewhere(asked: Wanted, job: Job) -> Placed:
    """Leave all in INT8 for a device that this machine is not, and say so."""
    from export.placement import untimed

    return _told(asked, untimed(), job)


def _told(asked: Wanted, found: "Placement", job: Job) -> Placed:
    """What was found, once it was said."""
    job.screen.tell(f"place: {asked.name}: {found.as_text()}")
    record = {**found.as_record(), "left_float": sorted(found.left_float)}
    return Placed(left_float=found.left_float, record=record)


def _onnx_opener(asked: Wanted, net: QuantizedNet) -> "Opener":
    """Loads ONNX models, which are rewritten for each candidate, not exported again."""
    from export.lowering.regions import opener
    from export.to_onnx import qdq_model

    size, name = asked.model.preprocess.size, asked.model.spec.name
    return opener(
        qdq_model(with_qdq(net.graph, net.scheme), size=size, name=name),
        qdq_model(net.graph, size=size, name=name),
        asked.target,
    )


def _tflite_opener(asked: Wanted, export: Export, recipe: str) -> "Opener":
    """Loads TFLite files, each converted anew: they cannot be rewritten."""

    def opened(left: frozenset[str] | None) -> Session:
        chosen = replace(asked, dtype="float32") if left is None else asked
        with tempfile.TemporaryDirectory() as folder:
            file = write(
                chosen,
                Path(folder),
                export=export,
                recipe=recipe,
                left_float=left or frozenset(),
            )
            return open_session(file)

    return opened
