"""What times networks and their layers; here: ONNX Runtime on this machine."""

import re
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
from compress.pruning.resizing import layer_name
from runtime.machine import this_machine
from runtime.operator_times import OperatorTime, operator_times
from runtime.session import open_session
from runtime.timing import timed

# Rounds in which an operator, or a whole network, is timed.
_ROUNDS: Final = 24
_RACE_ROUNDS: Final = 40
_THREADS: Final = 1  # what a report's latencies are taken with
RUNTIME: Final = "onnxruntime"
# As ONNX Runtime calls a node that it moved to blocks of channels, or to integers.
_RENAMED: Final = re.compile(r"_nchwc$|_token_\d+$")
# Latencies are taken where other programs disturb them least.
_PERCENTILE: Final = 10


class LayerTimer(Protocol):
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


class LocalLayerTimer:
    """A LayerTimer for ONNX Runtime on this machine; one thread."""

    def __init__(self, rng: np.random.Generator, *, dtype: str = "float32") -> None:
        """`rng`: for images, and for whose turn it is; dtype: of the models."""
        self._rng, self._dtype = rng, dtype

    @property
    def place(self) -> Mapping[str, str | int]:
        """Processor and its instruction sets, runtime and version, threads, format."""
        machine = this_machine()
        return {
            "machine": machine.name,
            "features": " ".join(machine.features),
            "runtime": f"{RUNTIME} {machine.versions.get(RUNTIME, '')}",
            "threads": _THREADS,
            "dtype": self._dtype,
        }

    def probe(self, model: onnx.ModelProto, layers: Sequence[Layer]) -> Probe:
        """Time the layers by a trace, and the whole without one."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "probe.onnx"
            onnx.save(model, path)
            seen = operator_times(path, threads=_THREADS, rounds=_ROUNDS, rng=self._rng)
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
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{index}.onnx" for index in range(len(models))]
            for path, model in zip(paths, models, strict=True):
                onnx.save(model, path)
            return raced_here_ms(paths, rounds=rounds, rng=self._rng)


def raced_here_ms(
    paths: Sequence[Path], *, rounds: int = _RACE_ROUNDS, rng: np.random.Generator
) -> list[float]:
    """Undisturbed latencies of files on this machine, by one thread's own time.

    That leaves out what other programs take from it.
    """
    with ExitStack() as stack:
        calls = []
        for path in paths:
            session = open_session(path, threads=_THREADS)
            stack.enter_context(closing(session))
            shape = session.input_shape
            calls.append(session.bind(rng.standard_normal(shape, dtype=np.float32)))
        for call in calls:
            call()
        order = rng.permuted(np.tile(np.arange(len(calls)), (rounds, 1)), axis=1)
        samples = np.zeros((len(calls), rounds), np.int64)
        timed(calls, order, samples, clock=time.thread_time_ns)
    lows = np.percentile(samples, _PERCENTILE, axis=1) / 1e6
    return [float(low) for low in lows]


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
        last = owner.get(_RENAMED.sub("", each.name), last)
        found[last] += float(np.percentile(each.samples_us, _PERCENTILE))
    return found


def _owners(model: onnx.ModelProto, layers: Sequence[str]) -> dict[str, str]:
    """The layer that each node belongs to; those before the first are the first's."""
    place = {name: index for index, name in enumerate(layers)}
    # As fx calls them, where a quantized graph was exported.
    place |= {name.replace(".", "_"): index for name, index in place.items()}
    of_value: dict[str, int] = {}
    owner: dict[str, str] = {}
    for node in model.graph.node:
        read = max((of_value.get(name, 0) for name in node.input), default=0)
        name = layer_name(node, place)
        mine = read if name is None else place[name]
        owner[node.name] = layers[mine]
        of_value |= dict.fromkeys(node.output, mine)
    return owner
