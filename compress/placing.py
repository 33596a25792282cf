"""Which parts of a quantised network stay float in a file, because that is faster."""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from compress.exports import Wanted, write
from compress.int8.regions import cuts, gates
from compress.int8.simulate import QuantizedNet, with_qdq
from compress.job import Job
from compress.measuring import measured, runtime_for, samples_of, threads_for
from compress.recipe import Export
from compress.screen import Advance
from export.placement import (
    FEW,
    MANY,
    LocalTimer,
    Placement,
    Writer,
    opened_by,
    placed_by,
    untimed,
)
from runtime.target import target


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Nodes that stay float, and the timings that say why."""

    left_float: frozenset[str] = field(default_factory=frozenset)
    record: Mapping[str, object] | None = None


@dataclass(frozen=True, kw_only=True)
class DeviceTimer:
    """Candidates as files, timed on the device that `export` names."""

    write: Writer
    export: Export
    job: Job
    folder: Path

    def made(self, left: frozenset[str] | None) -> Path:
        """The candidate's file, by a name of its own; its facts are inside."""
        count = sum(1 for _ in self.folder.iterdir())
        with tempfile.TemporaryDirectory() as place:
            path = self.write(left, Path(place))
            return Path(shutil.move(path, self.folder / f"{count}{path.suffix}"))

    def times(
        self, candidates: Sequence[Path], *, seconds: float
    ) -> npt.NDArray[np.int64]:
        """Samples [candidates, rounds] in ns, taken in turn there."""
        found = measured(
            str(self.export.device),
            candidates,
            threads=threads_for(self.export),
            seed=self.job.seed,
            screen=self.job.screen,
            seconds=seconds,
        )
        return samples_of(found)


def placed(asked: Wanted, export: Export, job: Job, recipe: str) -> Placed:
    """What stays float in an INT8 file because it is faster so where it is measured.

    Nothing is looked for unless `export` asks, or names a target of the file's format;
    nothing is timed for a device that neither this machine is nor `export` names, nor
    for TensorRT, which takes minutes to build what it runs.
    `recipe` is the digest that the file will be written with.
    """
    net = asked.model.net
    named = any(target(name).format == asked.format for name in export.target)
    wanted = export.optimize or ("latency" if named else "none")
    if wanted == "none" or asked.dtype != "int8" or not isinstance(net, QuantizedNet):
        return Placed()
    # One TFLite file serves every device, those that were named before this machine.
    mine = asked.target is not None or not named or export.device is not None
    here = asked.runs_here and mine and runtime_for(export) is None
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
    write = _onnx(asked, net) if onnx else _tflite(asked, export, recipe)
    effort = MANY if onnx and export.device is None else FEW
    total = round(effort.seconds)
    found, gated = cuts(net.graph), gates(net.graph)
    with (
        job.screen.progress("place", total, timing=True) as advance,
        ExitStack() as stack,
    ):
        tell = _by_the_clock(advance, total)
        if export.device is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            there = DeviceTimer(write=write, export=export, job=job, folder=folder)
            return placed_by(there, cuts=found, gates=gated, effort=effort, tell=tell)
        rng = np.random.default_rng(job.seed)
        timer = LocalTimer(opened=opened_by(write), rng=rng, sessions=stack)
        return placed_by(timer, cuts=found, gates=gated, effort=effort, tell=tell)


def _by_the_clock(advance: Advance, total: int) -> Callable[[str], None]:
    """Progress of a search that ends when its seconds do, or a little later."""
    started, told = time.monotonic(), 0

    def tell(name: str) -> None:
        nonlocal told
        now = min(total - 1, int(time.monotonic() - started))
        advance(now - told, name)
        told = now

    return tell


def _onnx(asked: Wanted, net: QuantizedNet) -> Writer:
    """ONNX models, which are rewritten for each candidate, not exported again."""
    from export.lowering.regions import written
    from export.to_onnx import qdq_model

    size, name = asked.model.preprocess.size, asked.model.spec.name
    return written(
        qdq_model(with_qdq(net.graph, net.scheme), size=size, name=name),
        qdq_model(net.graph, size=size, name=name),
        asked.target,
    )


def _tflite(asked: Wanted, export: Export, recipe: str) -> Writer:
    """TFLite files, each converted anew: they cannot be rewritten."""

    def written(left: frozenset[str] | None, folder: Path) -> Path:
        chosen = replace(asked, dtype="float32") if left is None else asked
        return write(
            chosen,
            folder,
            export=export,
            recipe=recipe,
            left_float=left or frozenset(),
        ).path

    return written
