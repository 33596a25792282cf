"""Times of the layers of a TFLite file: it is cut after each operator, in turn.

LiteRT's Python package has no profiler. So the file is cut short after an operator and
before it, and both are run in turn: the difference is what the operator takes in its
place, with XNNPACK and caches as in use. Two numbers of the flatbuffer are changed for
that, how many operators there are and which tensor is the output; offsets are those of
tensorflow/compiler/mlir/lite/schema/schema.fbs, version 3.
"""

import struct
import sys
import time
from typing import Final

import numpy as np

from runtime.artifact import Artifact
from runtime.backends.litert import imported
from runtime.errors import InputRejectedError, one_line
from runtime.files import read_bytes
from runtime.layers import Layer, LayerProfile
from runtime.quiet import quiet

_LARGEST: Final = 1 << 31
_MODEL_SUBGRAPHS, _MODEL_SIGNATURES = 2, 7
_GRAPH_OUTPUTS, _GRAPH_OPERATORS = 2, 3
_OPERATOR_OUTPUTS: Final = 2
_WARM_UP: Final = 2
_SECONDS: Final = 6.0  # for all layers of a file
_FEWEST, _MOST = 8, 60  # runs of each cut


class _Cutter:
    """A TFLite file that can be cut after any operator of its first graph."""

    def __init__(self, content: bytes) -> None:
        self._content: Final = content
        model = self._offset(0)
        self._signatures: Final = self._vector(model, _MODEL_SIGNATURES)
        graphs = self._vector(model, _MODEL_SUBGRAPHS)
        graph = self._element(graphs, 0)
        self._outputs: Final = self._vector(graph, _GRAPH_OUTPUTS)
        self._operators: Final = self._vector(graph, _GRAPH_OPERATORS)
        self.count: Final = self._number(self._operators) if self._operators else 0

    def after(self, operators: int) -> bytes:
        """The file with so many operators, whose output is the last one's."""
        last = self._element(self._operators, operators - 1)
        results = self._vector(last, _OPERATOR_OUTPUTS)
        cut = bytearray(self._content)
        struct.pack_into("<I", cut, self._operators, operators)
        struct.pack_into("<I", cut, self._outputs, 1)
        struct.pack_into("<i", cut, self._outputs + 4, self._number(results + 4))
        if self._signatures:  # they name outputs that are gone
            struct.pack_into("<I", cut, self._signatures, 0)
        return bytes(cut)

    def _number(self, at: int) -> int:
        """A whole number of 32 bits."""
        (found,) = struct.unpack_from("<i", self._content, at)
        return int(found)

    def _offset(self, at: int) -> int:
        """Where the table or vector lies that `at` points to."""
        return at + self._number(at)

    def _vector(self, table: int, field: int) -> int:
        """Where a vector of a table begins, with its length; 0 if there is none."""
        layout = table - self._number(table)
        size, place = struct.unpack_from("<H", self._content, layout)[0], 4 + 2 * field
        if place + 2 > size:
            return 0
        (within,) = struct.unpack_from("<H", self._content, layout + place)
        return self._offset(table + within) if within else 0

    def _element(self, vector: int, index: int) -> int:
        """Where a table lies that is an element of a vector."""
        if not vector or not 0 <= index < self._number(vector):
            raise ValueError(f"element {index} is missing")
        return self._offset(vector + 4 + 4 * index)


class _Cut:
    """A file that was cut, loaded and ready to be timed."""

    def __init__(self, content: bytes, *, where: Artifact, threads: int) -> None:
        kind, _ = imported(where.path)
        with quiet(2):
            self._interpreter = kind(  # type: ignore[operator]
                model_content=content, num_threads=threads
            )
            self._interpreter.allocate_tensors()
        self._source = self._interpreter.get_input_details()[0]
        self.fastest_ns = sys.maxsize

    def fed(self, rng: np.random.Generator) -> "_Cut":
        """The same, with random numbers as its input, and warm."""
        kind = np.dtype(self._source["dtype"])
        values = rng.standard_normal(self._source["shape"], np.float32)
        scaled = values * 32 if kind.kind in "iu" else values
        self._interpreter.set_tensor(self._source["index"], scaled.astype(kind))
        for _ in range(_WARM_UP):
            self.time_()
        return self

    def time_(self) -> None:
        """One inference; the fastest is kept, which nothing else disturbed."""
        started = time.perf_counter_ns()
        self._interpreter.invoke()
        self.fastest_ns = min(self.fastest_ns, time.perf_counter_ns() - started)

    def operators(self, count: int) -> list[tuple[str, str, str]]:
        """Name of the result, operator and dtype of the first `count` operators."""
        known = {
            int(each["index"]): (str(each["name"]), np.dtype(each["dtype"]).name)
            for each in self._interpreter.get_tensor_details()
        }
        nothing = ("", "")
        found = []
        for each in self._interpreter._get_ops_details()[:count]:  # noqa: SLF001  # there is no other
            given, gives = (
                known.get(int(next(iter(each[which]), -1)), nothing)
                for which in ("inputs", "outputs")
            )
            found.append((gives[0], str(each["op_name"]), given[1] or gives[1]))
        return found


def layer_times(
    artifact: Artifact, *, threads: int, variant: str, rng: np.random.Generator
) -> LayerProfile:
    """Time each operator of a file; one that cannot be cut is an InputRejectedError."""
    del variant
    try:
        return _layer_times(artifact, threads=threads, rng=rng)
    except (struct.error, ValueError, RuntimeError) as error:
        raise InputRejectedError(
            f"{artifact.path}: {imported(artifact.path)[1]} does not run it cut after "
            f"an operator, as --layers does: {one_line(error)}; use ai-edge-litert"
        ) from error


def _layer_times(
    artifact: Artifact, *, threads: int, rng: np.random.Generator
) -> LayerProfile:
    """Each cut and the one before it, in turn."""
    cutter = _Cutter(read_bytes(artifact.path, largest=_LARGEST))
    whole = _Cut(cutter.after(cutter.count), where=artifact, threads=threads)
    whole.fed(rng)
    for _ in range(_FEWEST):
        whole.time_()
    rounds = int(_SECONDS * 1e9 / max(1, whole.fastest_ns * cutter.count))
    rounds = min(max(rounds, _FEWEST), _MOST)
    before: _Cut | None = None
    fastest = []
    for at in range(cutter.count):
        now = _Cut(cutter.after(at + 1), where=artifact, threads=threads).fed(rng)
        for _ in range(rounds):
            now.time_()
            if before is not None:
                before.time_()
        if before is not None:
            fastest.append(before.fastest_ns)
        before = now
    ends_ms = np.array([*fastest, now.fastest_ns]) / 1e6
    # More operators take no less time; what seems to was disturbed.
    took_ms = np.diff(np.maximum.accumulate(ends_ms), prepend=0.0).tolist()
    layers = tuple(
        Layer(name=name, operator=operator, dtype=dtype, ms=ms)
        for (name, operator, dtype), ms in zip(
            whole.operators(cutter.count), took_ms, strict=True
        )
    )
    return LayerProfile(
        file=artifact.path.name,
        runtime=imported(artifact.path)[1],
        threads=threads,
        how=f"cut after each operator, the fastest of {2 * rounds} runs",
        whole_ms=whole.fastest_ns / 1e6,
        layers=layers,
    )
