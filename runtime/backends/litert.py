"""TFLite files through LiteRT, or through its predecessor tflite-runtime."""

import importlib
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.artifact import Artifact
from runtime.batch import Batch, answered, check_fits, check_rows, check_size
from runtime.errors import InputRejectedError, MissingDependencyError, one_line
from runtime.quiet import quiet
from runtime.requirements import pip_line

# Module and distribution, the one to prefer first: tflite-runtime ended at 2.14, and
# TensorFlow takes seconds to import.
_INTERPRETERS: Final = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
    ("tensorflow.lite.python.interpreter", "tensorflow"),
)


class LiteRTSession:
    """A Session on LiteRT's CPU kernels; quantizes and dequantizes at the edges."""

    def __init__(self, artifact: Artifact, *, threads: int) -> None:
        """Load the file; one inference uses `threads` threads."""
        interpreter, self.runtime = imported(artifact.path)
        started_ns = time.perf_counter_ns()
        try:
            with quiet(2):  # it announces its delegate, and says what it refuses
                self._interpreter = interpreter(  # type: ignore[operator]
                    model_path=str(artifact.path), num_threads=threads
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputRejectedError(
                f"{artifact.path}: {self.runtime} does not load it: {one_line(error)}; "
                "export or copy it again"
            ) from error
        self.load_ms: Final = (time.perf_counter_ns() - started_ns) / 1e6
        self.artifact: Final = artifact
        self.threads: Final = threads
        inputs = self._interpreter.get_input_details()
        if len(inputs) != 1:
            raise InputRejectedError(
                f"{artifact.path}: has {len(inputs)} inputs; allowed: one"
            )
        self._source: Final = _tensor(inputs[0], path=artifact.path)
        check_size(self._source.shape, path=artifact.path)
        outputs = self._interpreter.get_output_details()
        if not outputs:
            raise InputRejectedError(f"{artifact.path}: has no outputs; allowed: one")
        self._result: Final = _tensor(outputs[0], path=artifact.path)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input; free dimensions are 1."""
        return self._source.shape

    def run(self, batch: Batch) -> Batch:
        """Map a batch in the file's layout to float32 scores [n, classes]."""
        return answered(
            self._scores, batch, self._source.shape, path=self.artifact.path
        )

    def bind(self, batch: Batch) -> Callable[[], object]:
        """One inference of `batch`: set the quantized input, invoke, get the output."""
        check_fits(batch, self._source.shape, path=self.artifact.path)
        prepared = self._source.stored(batch)
        source, result = self._source.index, self._result.index
        set_tensor = self._interpreter.set_tensor
        invoke = self._interpreter.invoke
        get_tensor = self._interpreter.get_tensor

        def once() -> object:
            set_tensor(source, prepared)
            invoke()
            return get_tensor(result)

        return once

    def outputs(self, batch: Batch) -> tuple[npt.NDArray[np.generic], ...]:
        """Every output of the file, in its order, as stored, of what it takes at once.

        Only a file that is opened up to look into it has more than one.
        """
        check_fits(batch, self._source.shape, path=self.artifact.path)
        self._step(batch)
        details = self._interpreter.get_output_details()
        return tuple(self._interpreter.get_tensor(each["index"]) for each in details)

    def close(self) -> None:
        """Let go of the model's memory."""
        del self._interpreter

    def _scores(self, batch: Batch) -> Batch:
        """One answer to what the file takes at once, a row for each image."""
        try:
            found = self._step(batch)
        except (RuntimeError, ValueError) as error:
            raise InputRejectedError(
                f"{self.artifact.path}: {self.runtime} loads it but cannot run it on "
                f"images of shape {list(batch.shape)}: {one_line(error)}"
            ) from error
        return check_rows(found, images=len(batch), path=self.artifact.path)

    def _step(self, batch: Batch) -> Batch:
        """Run what the file takes at once."""
        self._interpreter.set_tensor(self._source.index, self._source.stored(batch))
        self._interpreter.invoke()
        return self._result.read(self._interpreter.get_tensor(self._result.index))


class _Tensor:
    """An input or output of the file and how its numbers are stored."""

    def __init__(self, detail: dict[str, object]) -> None:
        self.index: Final = detail["index"]
        self.shape: Final = tuple(
            max(1, int(size))
            for size in detail["shape"]  # type: ignore[attr-defined]
        )
        self.dtype: Final = np.dtype(detail["dtype"])  # type: ignore[call-overload]
        scale, zero_point = detail["quantization"]  # type: ignore[misc]
        self.scale: Final = float(scale)  # type: ignore[has-type]
        self.zero_point: Final = int(zero_point)  # type: ignore[has-type]

    def stored(self, values: Batch) -> npt.NDArray[np.generic]:
        """Real numbers as the file keeps them: rounded to the grid, clipped."""
        if not np.issubdtype(self.dtype, np.integer):
            return np.ascontiguousarray(values, self.dtype)
        info = np.iinfo(self.dtype)
        grid = np.rint(values / (self.scale or 1.0)) + self.zero_point
        kept: npt.NDArray[np.generic] = np.clip(grid, info.min, info.max)
        return kept.astype(self.dtype)

    def read(self, values: npt.NDArray[np.generic]) -> Batch:
        """What the file keeps as real numbers."""
        real = np.asarray(values, np.float32)
        if not np.issubdtype(self.dtype, np.integer):
            return real
        return (real - np.float32(self.zero_point)) * np.float32(self.scale or 1.0)


def _tensor(detail: dict[str, object], *, path: Path) -> _Tensor:
    """An input or output; one that holds no real numbers is refused."""
    found = _Tensor(detail)
    if found.dtype.kind not in "fiub" or not math.isfinite(found.scale):
        raise InputRejectedError(
            f"{path}: {detail['name']!r:.60} holds {found.dtype} of scale "
            f"{found.scale}; allowed: real numbers"
        )
    return found


def session(artifact: Artifact, *, threads: int, variant: str) -> LiteRTSession:
    """Load a file; see `LiteRTSession`. There is one variant."""
    del variant
    return LiteRTSession(artifact, threads=threads)


def interpreter(where: Path | str, *, variant: str) -> str:
    """Import what runs the file at `where`; its name and version."""
    del variant
    _, name = imported(where)
    return name


def imported(path: Path | str) -> tuple[object, str]:
    """The interpreter's class for the file at `path`, and its name with version."""
    for module, distribution in _INTERPRETERS:
        top = module.partition(".")[0]
        try:
            with quiet(2):  # TensorFlow tells which instructions it uses
                found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != top:
                raise
            continue
        return found.Interpreter, f"{distribution} {_version(top, distribution)}"
    raise MissingDependencyError(
        f"{path}: needs ai-edge-litert, which is not installed; "
        f"run: {pip_line('tflite')}"
    )


def _version(module: str, distribution: str) -> str:
    """Its version; TensorFlow's distributions have several names (tensorflow-cpu)."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return str(getattr(sys.modules[module], "__version__", "unknown"))
