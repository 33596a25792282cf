"""ONNX files through ONNX Runtime."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Final

import numpy as np

from runtime.artifact import Artifact
from runtime.batch import Batch, answered, check_fits, check_rows, check_size
from runtime.errors import (
    DeviceError,
    InputRejectedError,
    MissingDependencyError,
    one_line,
)
from runtime.requirements import pip_line

_INPUT_TYPES: Final = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}
_OUTPUT_TYPES: Final = frozenset(
    f"tensor({kind})"
    for kind in (
        *("float", "float16", "double", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64", "bool"),
    )
)
# Severity 4 is what ends the process; errors are raised, and need not be on stderr too.
_FATAL_ONLY: Final = 4
CPU: Final = "CPUExecutionProvider"
_XNNPACK: Final = "XnnpackExecutionProvider"


class OrtSession:
    """A Session on ONNX Runtime, on one of its execution providers."""

    def __init__(
        self,
        artifact: Artifact,
        *,
        threads: int,
        provider: str = CPU,
        trace: Path | None = None,
    ) -> None:
        """Load the file; one inference uses `threads` threads.

        What `provider` does not take of a file is left to the CPU's. With `trace`, what
        a file's name begins with, each operator is timed until `end_trace`.
        """
        onnxruntime = imported(artifact.path)
        _check_provider(onnxruntime, provider, where=artifact.path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        if trace is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(trace)
        started_ns = time.perf_counter_ns()
        try:
            self._session = onnxruntime.InferenceSession(
                str(artifact.path),
                options,
                providers=_providers(provider, threads=threads),
                enable_fallback=False,  # it would say so on our stdout
            )
        except Exception as error:  # ONNX Runtime's errors share no narrower class
            raise InputRejectedError(
                f"{artifact.path}: onnxruntime {onnxruntime.__version__} does not "
                f"load it: {one_line(error)}; export or copy it again"
            ) from error
        self.load_ms: Final = (time.perf_counter_ns() - started_ns) / 1e6
        if provider not in self._session.get_providers():
            raise DeviceError(
                f"{artifact.path}: onnxruntime {onnxruntime.__version__} has "
                f"{provider}, but it does not start here, and the CPU would take its "
                "place in silence; are its driver and libraries (CUDA, cuDNN) there?"
            )
        self.artifact: Final = artifact
        self.threads: Final = threads
        self.runtime: Final = _named(onnxruntime, provider)
        self._take_input()
        self._take_output()

    def _take_input(self) -> None:
        """The input as the file declares it; one that cannot be fed is refused."""
        artifact = self.artifact
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _INPUT_TYPES:
            found = ", ".join(f"{each.name}: {each.type}" for each in inputs)
            raise InputRejectedError(
                f"{artifact.path}: inputs are ({found}); allowed: one tensor of floats"
            )
        self._input: str = inputs[0].name
        self._dtype = _INPUT_TYPES[inputs[0].type]
        self._dims = tuple(
            size if isinstance(size, int) and size > 0 else None
            for size in inputs[0].shape
        )
        check_size(self.input_shape, path=artifact.path)

    def _take_output(self) -> None:
        """The first output, which has to be numbers."""
        artifact = self.artifact
        outputs = self._session.get_outputs()
        if not outputs or outputs[0].type not in _OUTPUT_TYPES:
            found = outputs[0].type if outputs else "none"
            raise InputRejectedError(
                f"{artifact.path}: its first output is {found}; allowed: a tensor of "
                "numbers"
            )
        self._outputs = [outputs[0].name]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input; free dimensions are 1."""
        return tuple(1 if size is None else size for size in self._dims)

    def run(self, batch: Batch) -> Batch:
        """Map a batch in the file's layout to float32 scores [n, classes]."""
        return answered(self._step, batch, self._dims, path=self.artifact.path)

    def bind(self, batch: Batch) -> Callable[[], object]:
        """One inference of `batch`: `InferenceSession.run` with its feed prepared."""
        check_fits(batch, self._dims, path=self.artifact.path)
        feed = {self._input: np.ascontiguousarray(batch, self._dtype)}
        return partial(self._session.run, self._outputs, feed)

    def end_trace(self) -> Path:
        """Write down what was traced, as Chrome's trace events in JSON; say where."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Let go of the model's memory."""
        del self._session

    def _step(self, batch: Batch) -> Batch:
        """Run what the file takes at once."""
        feed = {self._input: np.ascontiguousarray(batch, self._dtype)}
        try:
            scores = self._session.run(self._outputs, feed)[0]
        except Exception as error:  # ONNX Runtime's errors share no narrower class
            raise InputRejectedError(
                f"{self.artifact.path}: {self.runtime} loads it but cannot run it on "
                f"images of shape {list(batch.shape)}: {one_line(error)}"
            ) from error
        found = np.asarray(scores, np.float32)
        return check_rows(found, images=len(batch), path=self.artifact.path)


def session(artifact: Artifact, *, threads: int, variant: str) -> OrtSession:
    """Load a file on the provider that `variant` names; see `OrtSession`."""
    return OrtSession(artifact, threads=threads, provider=variant or CPU)


def interpreter(where: Path | str, *, variant: str) -> str:
    """Import ONNX Runtime for the file at `where`; its name, version and provider.

    A provider that this build of it lacks is a DeviceError.
    """
    onnxruntime = imported(where)
    _check_provider(onnxruntime, variant or CPU, where=where)
    return _named(onnxruntime, variant or CPU)


def _providers(
    provider: str, *, threads: int
) -> list[str | tuple[str, dict[str, str]]]:
    """The provider, with its own threads where it has some, and the CPU's behind it."""
    if provider == CPU:
        return [CPU]
    if provider == _XNNPACK:
        return [(_XNNPACK, {"intra_op_num_threads": str(threads)}), CPU]
    return [provider, CPU]


def _check_provider(onnxruntime: ModuleType, provider: str, *, where: object) -> None:
    """Refuse a provider that this build lacks; it would be left out in silence."""
    there = onnxruntime.get_available_providers()
    if provider not in there:
        raise DeviceError(
            f"{where}: onnxruntime {onnxruntime.__version__} was built without "
            f"{provider}; it has {', '.join(there)}"
        )


def _named(onnxruntime: ModuleType, provider: str) -> str:
    """Name and version, and the provider where it is not the CPU's."""
    kind = "" if provider == CPU else f" ({provider})"
    return f"onnxruntime {onnxruntime.__version__}{kind}"


def imported(where: Path | str) -> ModuleType:
    """ONNX Runtime, which `where` needs; every import of it goes through here.

    `runtime.private` keeps it from reporting; where somebody else had loaded it before
    that, it is told here, and events that it has not sent yet are not sent.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{where}: needs onnxruntime, which is not installed; "
            f"run: {pip_line('onnx')}"
        ) from error
    onnxruntime.disable_telemetry_events()
    loaded: ModuleType = onnxruntime
    return loaded
