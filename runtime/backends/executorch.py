"""ExecuTorch programs (.pte) through its own Python runtime, which brings torch."""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime.artifact import Artifact
from runtime.batch import Batch, answered, check_fits, check_rows, check_size
from runtime.errors import InputRejectedError, MissingDependencyError, one_line
from runtime.quiet import quiet
from runtime.requirements import pip_line

_FLOAT: Final = 6  # c10::ScalarType::Float


class ExecuTorchSession:
    """A Session on ExecuTorch's `forward` method; threads are those of its one pool."""

    def __init__(self, artifact: Artifact, *, threads: int) -> None:
        """Load the file; one inference uses `threads` threads."""
        self._torch, library, self.runtime = imported(artifact.path)
        started_ns = time.perf_counter_ns()
        try:
            with quiet(2):
                library._unsafe_reset_threadpool(threads)  # noqa: SLF001  # the only way there is
                self._module = library._load_for_executorch(str(artifact.path))  # noqa: SLF001  # as above
                meta = self._module.method_meta("forward")
                source = meta.input_tensor_meta(0)
        except Exception as error:  # it raises RuntimeError and others
            raise InputRejectedError(
                f"{artifact.path}: {self.runtime} does not load it: {one_line(error)}; "
                "export or copy it again"
            ) from error
        self.load_ms: Final = (time.perf_counter_ns() - started_ns) / 1e6
        self.artifact: Final = artifact
        self.threads: Final = threads
        if meta.num_inputs() != 1 or source.dtype() != _FLOAT:
            raise InputRejectedError(
                f"{artifact.path}: has {meta.num_inputs()} inputs, the first of type "
                f"{source.dtype()}; allowed: one tensor of float32"
            )
        self._dims: Final = tuple(int(size) for size in source.sizes())
        check_size(self._dims, path=artifact.path)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input, [1, 3, height, width] in files of ours."""
        return self._dims

    def run(self, batch: Batch) -> Batch:
        """Map a batch in the file's layout to float32 scores [n, classes]."""
        return answered(self._step, batch, self._dims, path=self.artifact.path)

    def bind(self, batch: Batch) -> Callable[[], object]:
        """One inference of `batch`: `forward` with its tensor prepared."""
        check_fits(batch, self._dims, path=self.artifact.path)
        return partial(self._module.run_method, "forward", (self._tensor(batch),))

    def close(self) -> None:
        """Let go of the model's memory."""
        del self._module

    def _tensor(self, batch: Batch) -> Any:  # noqa: ANN401  # torch's
        """Numbers as the runtime takes them."""
        return self._torch.from_numpy(np.ascontiguousarray(batch, np.float32))

    def _step(self, batch: Batch) -> Batch:
        """Run what the file takes at once."""
        try:
            answer = self._module.run_method("forward", (self._tensor(batch),))[0]
        except Exception as error:  # as above
            raise InputRejectedError(
                f"{self.artifact.path}: {self.runtime} loads it but cannot run it on "
                f"images of shape {list(batch.shape)}: {one_line(error)}"
            ) from error
        # The runtime uses the memory of its answer again.
        found = np.array(answer.numpy(), np.float32)
        return check_rows(found, images=len(batch), path=self.artifact.path)


def session(artifact: Artifact, *, threads: int, variant: str) -> ExecuTorchSession:
    """Load a file; see `ExecuTorchSession`. There is one variant."""
    del variant
    return ExecuTorchSession(artifact, threads=threads)


def interpreter(where: Path | str, *, variant: str) -> str:
    """Import ExecuTorch for the file at `where`; its name and version."""
    del variant
    return imported(where)[2]


def imported(where: Path | str) -> tuple[Any, Any, str]:
    """torch, ExecuTorch's loader, which `where` needs, and its name and version."""
    from importlib.metadata import version

    try:
        with quiet(2):  # torchao says which of its libraries do not fit
            from executorch.extension.pybindings import portable_lib
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{where}: needs {error.name}, which is not installed; "
            f"run: {pip_line('executorch')}"
        ) from error
    # Its loader has imported torch, whose tensors it takes.
    return sys.modules["torch"], portable_lib, f"executorch {version('executorch')}"
