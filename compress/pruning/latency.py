"""A network's layers, timed within it on the machine that it is for."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx

from compress.pruning.latency_table import LatencyTable, Probe, tabulated
from runtime.errors import InputRejectedError, MissingDependencyError
from runtime.files import digest_of, write_text
from runtime.machine import this_machine
from runtime.operator_times import OperatorTime, operator_times
from runtime.session import open_session
from runtime.target import target as target_of
from runtime.timing import Clock, timed

if TYPE_CHECKING:
    from compress.pruning.layout import Kept, Layer, Layout
    from runtime.target import Target

# Networks that are timed: the whole one, and others with widths drawn at random.
_PROBES: Final = 9
_NARROWEST: Final = 0.2
# How much the widths of one probe differ, as the deviation of their logarithms.
_SPREAD: Final = 0.35
_ROUNDS: Final = 16
# Latencies are taken where other programs disturb them least.
_PERCENTILE: Final = 10

# The network at some widths, as a file's content.
Make = Callable[["Kept"], onnx.ModelProto]
# What times a network of these layers.
Timer = Callable[[onnx.ModelProto, Sequence["Layer"]], Probe]


def measurable(name: str) -> Target:
    """The target `name`, if layers can be timed for it here; else one sentence."""
    found = target_of(name)
    if found.runtime != "onnxruntime" or found.dtype != "float32":
        raise MissingDependencyError(
            f"prune: target {name!r} was never measured: a latency budget needs the "
            "latencies of the network's layers, which are taken from ONNX Runtime in "
            "float32; run this command on the device itself with --target local, or "
            "give a budget that needs no device, such as --macs 0.5"
        )
    return found


def latency_table(
    layout: Layout, make: Make, *, target: Target, cache: Path
) -> LatencyTable:
    """The table of a network on this machine, measured once and then kept in `cache`.

    It is named by all that it depends on: processor, runtime, threads, number format
    and the layers themselves.
    """
    machine = this_machine()
    version = f"{target.runtime} {machine.versions.get(target.runtime, 'unknown')}"
    name = digest_of(
        *(machine.cpu, machine.features, version, target.threads, target.dtype),
        [asdict(layer) for layer in layout.whole],
    )
    path = cache / "latencies" / f"{name}.json"
    if path.is_file():
        try:
            return LatencyTable.model_validate_json(path.read_text(encoding="utf-8"))
        except ValueError:
            pass  # of another version, or damaged: a cache is made again
    rng = np.random.default_rng(0)

    def timer(model: onnx.ModelProto, layers: Sequence[Layer]) -> Probe:
        return timed_here(model, layers, target=target, rng=rng)

    probes = [
        timer(make(kept), layout.layers(kept)) for kept in probe_widths(layout, rng)
    ]
    table = tabulated(
        probes, machine=machine.name, runtime=version, threads=target.threads
    )
    write_text(path, table.model_dump_json(indent=2) + "\n")
    return table


def probe_widths(layout: Layout, rng: np.random.Generator) -> list[list[int]]:
    """Widths to be timed: all of them, and random ones between narrow and whole."""
    found = [list(layout.full)]
    for share in np.linspace(_NARROWEST, 1.0, _PROBES - 1):
        factors = share * np.exp(rng.normal(0.0, _SPREAD, len(layout.full)))
        found.append(
            [
                _in_blocks(units * float(factor), units, channels)
                for units, factor, channels in zip(
                    layout.full, factors, layout.unit, strict=True
                )
            ]
        )
    return found


def _in_blocks(wanted: float, units: int, channels: int) -> int:
    """`wanted` units, some of `units`, in multiples of 8 channels."""
    step = max(1, 8 // channels)
    least = min(units, max(step, round(_NARROWEST * units)))
    return int(min(units, max(least, round(wanted / step) * step)))


def timed_here(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    *,
    target: Target,
    rng: np.random.Generator,
) -> Probe:
    """A network's layers and the whole of it, timed on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.onnx"
        onnx.save(model, path)
        seen = operator_times(path, threads=target.threads, rounds=_ROUNDS, rng=rng)
    (whole_ms,) = latencies_ms([model], target=target, rng=rng)
    return Probe(
        layers=tuple(layers),
        layers_us=by_layer(model, seen, [layer.name for layer in layers]),
        whole_ms=whole_ms,
    )


def latencies_ms(
    models: Sequence[onnx.ModelProto],
    *,
    target: Target,
    rng: np.random.Generator,
    rounds: int = _ROUNDS,
) -> list[float]:
    """Latency of each model, undisturbed, all of them timed in turn."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        calls = []
        for index, model in enumerate(models):
            path = folder / f"{index}.onnx"
            onnx.save(model, path)
            session = open_session(path, threads=target.threads)
            stack.enter_context(closing(session))
            shape = session.input_shape
            calls.append(session.bind(rng.standard_normal(shape, dtype=np.float32)))
        for call in calls:
            call()
        order = rng.permuted(np.tile(np.arange(len(calls)), (rounds, 1)), axis=1)
        samples = np.zeros((len(calls), rounds), np.int64)
        timed(calls, order, samples, clock=_clock(target.threads))
    return (np.percentile(samples, _PERCENTILE, axis=1) / 1e6).tolist()


def _clock(threads: int) -> Clock:
    """One thread's own time leaves out what other programs take from it."""
    return time.thread_time_ns if threads == 1 else time.perf_counter_ns


def by_layer(
    model: onnx.ModelProto, seen: Sequence[OperatorTime], layers: Sequence[str]
) -> dict[str, float]:
    """Time of each of `layers` in us, with the operators that follow it.

    An operator without weights belongs to the last layer whose answer it reads, and one
    that the runtime put in to the layer that ran before.
    """
    if not seen:
        raise InputRejectedError("prune: the runtime traced no operator of the network")
    owner = _owners(model, layers)
    found = dict.fromkeys(layers, 0.0)
    last = layers[0]
    for each in seen:
        # As ONNX Runtime calls a node that it moved to blocks of channels.
        last = owner.get(each.name.removesuffix("_nchwc"), last)
        found[last] += float(np.percentile(each.samples_us, _PERCENTILE))
    return found


def _owners(model: onnx.ModelProto, layers: Sequence[str]) -> dict[str, str]:
    """The layer that each node belongs to; those before the first are the first's."""
    place = {name: index for index, name in enumerate(layers)}
    of_value: dict[str, int] = {}
    owner: dict[str, str] = {}
    for node in model.graph.node:
        read = max((of_value.get(name, 0) for name in node.input), default=0)
        mine = place.get(node.name.rpartition("/")[0], read)
        owner[node.name] = layers[mine]
        of_value |= dict.fromkeys(node.output, mine)
    return owner
