"""A loaded model, whatever its format, and how to get one."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from runtime.artifact import Artifact
from runtime.backends.table import backend_for
from runtime.batch import Batch
from runtime.errors import RecipeError


class Session(Protocol):
    """A loaded model, ready to run."""

    @property
    def artifact(self) -> Artifact:
        """The file behind it."""
        ...

    @property
    def runtime(self) -> str:
        """The interpreter and its version, such as `onnxruntime 1.31.1`."""
        ...

    @property
    def threads(self) -> int:
        """Threads within one inference."""
        ...

    @property
    def load_ms(self) -> float:
        """Time from the file to a session that can run, the import left out."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input in the file's own layout; free dimensions are 1."""
        ...

    def run(self, batch: Batch) -> Batch:
        """Map a batch in the file's layout to float32 scores [n, classes]."""
        ...

    def bind(self, batch: Batch) -> Callable[[], object]:
        """One inference of `batch`, ready to be timed: nothing is left to convert."""
        ...

    def close(self) -> None:
        """Let go of the model's memory."""
        ...


def open_session(
    artifact: Artifact | Path | str, *, threads: int = 1, runtime: str | None = None
) -> Session:
    """Load a file with `runtime`, or with what its format is run by, importing it only.

    A path is read as an `Artifact` first. A model that the interpreter refuses is an
    InputRejectedError, a missing interpreter a MissingDependencyError, a runtime that
    is not known or does not take the file a RecipeError.
    """
    if threads < 1:
        raise RecipeError(f"threads: {threads}; allowed: 1 or more")
    if not isinstance(artifact, Artifact):
        artifact = Artifact.read(Path(artifact))
    return backend_for(artifact, runtime).session(artifact, threads=threads)


def load_interpreter(artifact: Artifact, *, runtime: str | None = None) -> str:
    """Import what runs a file, `runtime` or its format's own; its name and version."""
    return backend_for(artifact, runtime).interpreter(artifact.path)
