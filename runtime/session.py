"""A loaded model, whatever its format, and how to get one."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from runtime.artifact import Artifact
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


def open_session(artifact: Artifact | Path | str, *, threads: int = 1) -> Session:
    """Load a file with the interpreter of its format, importing only that one.

    A path is read as an `Artifact` first. A model that the interpreter refuses is an
    InputRejectedError, a missing interpreter a MissingDependencyError.
    """
    if threads < 1:
        raise RecipeError(f"threads: {threads}; allowed: 1 or more")
    if not isinstance(artifact, Artifact):
        artifact = Artifact.read(Path(artifact))
    if artifact.format == "onnx":
        from runtime.ort import OrtSession

        return OrtSession(artifact, threads=threads)
    from runtime.litert import LiteRTSession

    return LiteRTSession(artifact, threads=threads)


def load_interpreter(artifact: Artifact) -> str:
    """Import what runs a file of this format; give its name and version."""
    if artifact.format == "onnx":
        from runtime.ort import imported as onnxruntime_for

        return f"onnxruntime {onnxruntime_for(artifact.path).__version__}"
    from runtime.litert import imported as litert_for

    _, name = litert_for(artifact.path)
    return name
