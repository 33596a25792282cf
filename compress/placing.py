"""Which parts of a quantised network stay float in a file, because that is faster."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from compress.exports import Wanted, write
from compress.int8.regions import cuts, gates
from compress.int8.simulate import QuantizedNet, with_qdq
from compress.job import Job
from compress.recipe import Export
from compress.screen import Advance
from export.placement import FEW, MANY, Opener, Placement, untimed
from export.placement import placed as search
from runtime.session import Session, open_session
from runtime.target import target


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Nodes that stay float, and the timings that say why."""

    left_float: frozenset[str] = field(default_factory=frozenset)
    record: Mapping[str, object] | None = None


def placed(asked: Wanted, export: Export, job: Job, recipe: str) -> Placed:
    """What stays float in an INT8 file because it is faster so on this machine.

    Nothing is looked for unless `export` asks, or names a target of the file's format;
    nothing is timed for a device that this machine is not. `recipe` is the digest that
    the file will be written with.
    """
    net = asked.model.net
    named = any(target(name).format == asked.format for name in export.target)
    wanted = export.optimize or ("latency" if named else "none")
    if wanted == "none" or asked.dtype != "int8" or not isinstance(net, QuantizedNet):
        return Placed()
    # One TFLite file serves every device, those that were named before this machine.
    here = asked.runs_here and (asked.target is not None or not named)
    found = _timed(asked, net, export, job, recipe) if here else untimed()
    job.screen.tell(f"place: {asked.name}: {found.as_text()}")
    record = {**found.as_record(), "left_float": sorted(found.left_float)}
    return Placed(left_float=found.left_float, record=record)


def _timed(
    asked: Wanted, net: QuantizedNet, export: Export, job: Job, recipe: str
) -> Placement:
    """Time parts of the network in float and in INT8; keep the faster.

    Less of a network in INT8 is closer to the float one, so that no candidate has to
    be judged again for its accuracy; parity is proven on what was chosen.
    """
    job.screen.tell(f"place: {asked.name}, timing parts of it in float and in INT8")
    onnx = asked.format == "onnx"
    effort = MANY if onnx else FEW
    total = round(effort.seconds)
    with job.screen.progress("place", total, timing=True) as advance:
        return search(
            _onnx_opener(asked, net) if onnx else _tflite_opener(asked, export, recipe),
            cuts=cuts(net.graph),
            gates=gates(net.graph),
            rng=np.random.default_rng(job.seed),
            effort=effort,
            tell=_by_the_clock(advance, total),
        )


def _by_the_clock(advance: Advance, total: int) -> Callable[[str], None]:
    """Progress of a search that ends when its seconds do, or a little later."""
    started, told = time.monotonic(), 0

    def tell(name: str) -> None:
        nonlocal told
        now = min(total - 1, int(time.monotonic() - started))
        advance(now - told, name)
        told = now

    return tell


def _onnx_opener(asked: Wanted, net: QuantizedNet) -> Opener:
    """Loads ONNX models, which are rewritten for each candidate, not exported again."""
    from export.lowering.regions import opener
    from export.to_onnx import qdq_model

    size, name = asked.model.preprocess.size, asked.model.spec.name
    return opener(
        qdq_model(with_qdq(net.graph, net.scheme), size=size, name=name),
        qdq_model(net.graph, size=size, name=name),
        asked.target,
    )


def _tflite_opener(asked: Wanted, export: Export, recipe: str) -> Opener:
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
