"""ONNX and TFLite files through OpenVINO, a second and independent runtime of both."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime.artifact import Artifact
from runtime.batch import Batch, answered, check_fits, check_rows, check_size
from runtime.errors import InputRejectedError, MissingDependencyError, one_line
from runtime.requirements import pip_line

_FLOATS: Final = {"f32": np.float32, "f16": np.float16, "f64": np.float64}


class OpenVINOSession:
    """A Session on OpenVINO's CPU plugin, in float32 where a file computes in floats.

    Left to itself the plugin computes float parts in bfloat16 wherever the processor
    has instructions for it (`INFERENCE_PRECISION_HINT`, OpenVINO's CPU device
    documentation), which no other runtime does with the same file.
    """

    def __init__(self, artifact: Artifact, *, threads: int) -> None:
        """Load the file; one inference uses `threads` threads."""
        openvino = imported(artifact.path)
        self.runtime: Final = _named(openvino)
        started_ns = time.perf_counter_ns()
        try:
            core = openvino.Core()
            self._compiled = core.compile_model(
                core.read_model(str(artifact.path)),
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "f32",
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": 1,
                },
            )
        except Exception as error:  # OpenVINO raises RuntimeError and its own
            raise InputRejectedError(
                f"{artifact.path}: {self.runtime} does not load it: {one_line(error)}; "
                "export or copy it again, or choose another --runtime"
            ) from error
        self.load_ms: Final = (time.perf_counter_ns() - started_ns) / 1e6
        self.artifact: Final = artifact
        self.threads: Final = threads
        inputs = self._compiled.inputs
        kinds = [each.get_element_type().get_type_name() for each in inputs]
        if len(kinds) != 1 or kinds[0] not in _FLOATS:
            raise InputRejectedError(
                f"{artifact.path}: inputs are ({', '.join(kinds)}); allowed with "
                "openvino: one tensor of floats"
            )
        self._dtype: Final = _FLOATS[kinds[0]]
        self._dims: Final = tuple(
            size.get_length() if size.is_static else None
            for size in inputs[0].get_partial_shape()
        )
        check_size(self.input_shape, path=artifact.path)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input; free dimensions are 1."""
        return tuple(1 if size is None else size for size in self._dims)

    def run(self, batch: Batch) -> Batch:
        """Map a batch in the file's layout to float32 scores [n, classes]."""
        return answered(self._step, batch, self._dims, path=self.artifact.path)

    def bind(self, batch: Batch) -> Callable[[], object]:
        """One inference of `batch`: a request whose input tensor is set already."""
        check_fits(batch, self._dims, path=self.artifact.path)
        request = self._compiled.create_infer_request()
        prepared = np.ascontiguousarray(batch, self._dtype)
        return partial(request.infer, [prepared], share_inputs=True)

    def close(self) -> None:
        """Let go of the model's memory."""
        del self._compiled

    def _step(self, batch: Batch) -> Batch:
        """Run what the file takes at once."""
        try:
            answer = self._compiled([np.ascontiguousarray(batch, self._dtype)])[0]
        except Exception as error:  # as above
            raise InputRejectedError(
                f"{self.artifact.path}: {self.runtime} loads it but cannot run it on "
                f"images of shape {list(batch.shape)}: {one_line(error)}"
            ) from error
        found = np.array(answer, np.float32)
        return check_rows(found, images=len(batch), path=self.artifact.path)


def session(artifact: Artifact, *, threads: int, variant: str) -> OpenVINOSession:
    """Load a file; see `OpenVINOSession`. There is one variant."""
    del variant
    return OpenVINOSession(artifact, threads=threads)


def interpreter(where: Path | str, *, variant: str) -> str:
    """Import OpenVINO for the file at `where`; its name and version."""
    del variant
    return _named(imported(where))


def imported(where: Path | str) -> Any:  # noqa: ANN401  # a module without types
    """OpenVINO, which `where` needs; `runtime.private` keeps it from reporting."""
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{where}: needs openvino, which is not installed; "
            f"run: {pip_line('openvino')}"
        ) from error
    return openvino


def _named(openvino: Any) -> str:  # noqa: ANN401  # as above
    """Name and version; the build that follows the version is left out."""
    return f"openvino {openvino.__version__.partition('-')[0]}"
