"""What times networks and their layers; here: ONNX Runtime on this machine."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import onnx

from compress.pruning.latency_table import Probe
from compress.pruning.layout import Layer
from runtime.errors import MissingDependencyError
from runtime.machine import this_machine
from runtime.operator_times import OperatorTime, operator_times
from runtime.session import open_session
from runtime.target import Target
from runtime.timing import Clock, timed

# Rounds in which an operator, or a whole network, is timed.
_ROUNDS: Final = 24
_RACE_ROUNDS: Final = 40
# Latencies are taken where other programs disturb them least.
_PERCENTILE: Final = 10


class Stopwatch(Protocol):
    """Times networks somewhere."""

    @property
    def place(self) -> Mapping[str, str | int]:
        """All that timings depend on besides the network: machine, runtime, threads."""
        ...

    def probe(self, model: onnx.ModelProto, layers: Sequence[Layer]) -> Probe:
        """Time the layers of one network, and the whole of it."""
        ...

    def race(self, models: Sequence[onnx.ModelProto]) -> list[float]:
        """Latency of each model in ms, all of them timed in turn."""
        ...


class LocalStopwatch:
    """A Stopwatch for ONNX Runtime on this machine."""

    def __init__(self, target: Target, rng: np.random.Generator) -> None:
        """`rng`: for images, and for whose turn it is."""
        if target.runtime != "onnxruntime" or target.dtype != "float32":
            raise MissingDependencyError(
                f"prune: target {target.name!r} was never measured: a latency budget "
                "needs the latencies of the network's layers, which are taken from "
                "ONNX Runtime in float32; run this command on the device itself with "
                "--target local, or give a budget that needs no device, such as "
                "--macs 0.5"
            )
        self._target, self._rng = target, rng

    @property
    def place(self) -> Mapping[str, str | int]:
        """Processor and its instruction sets, runtime and version, threads, format."""
        machine, target = this_machine(), self._target
        return {
            "machine": machine.name,
            "features": " ".join(machine.features),
            "runtime": f"{target.runtime} {machine.versions.get(target.runtime, '')}",
            "threads": target.threads,
            "dtype": target.dtype,
        }

    def probe(self, model: onnx.ModelProto, layers: Sequence[Layer]) -> Probe:
        """Time the layers by a trace, and the whole without one."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "probe.onnx"
            onnx.save(model, path)
            seen = operator_times(
                path, threads=self._target.threads, rounds=_ROUNDS, rng=self._rng
            )
        (whole_ms,) = self._latencies_ms([model], rounds=_ROUNDS)
        return Probe(
            layers=tuple(layers),
            layers_us=by_layer(model, seen, [layer.name for layer in layers]),
            whole_ms=whole_ms,
        )

    def race(self, models: Sequence[onnx.ModelProto]) -> list[float]:
        """Latency of each model in ms, in random order within every round."""
        return self._latencies_ms(models, rounds=_RACE_ROUNDS)

    def _latencies_ms(
        self, models: Sequence[onnx.ModelProto], *, rounds: int
    ) -> list[float]:
        """Undisturbed latencies."""
        rng, threads = self._rng, self._target.threads
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            calls = []
            for index, model in enumerate(models):
                path = folder / f"{index}.onnx"
                onnx.save(model, path)
                session = open_session(path, threads=threads)
                stack.enter_context(closing(session))
                shape = session.input_shape
                calls.append(session.bind(rng.standard_normal(shape, dtype=np.float32)))
            for call in calls:
                call()
            order = rng.permuted(np.tile(np.arange(len(calls)), (rounds, 1)), axis=1)
            samples = np.zeros((len(calls), rounds), np.int64)
            timed(calls, order, samples, clock=_clock(threads))
        lows = np.percentile(samples, _PERCENTILE, axis=1) / 1e6
        return [float(low) for low in lows]


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
