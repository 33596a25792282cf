"""A loaded model, whatever its format, and how to get one."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from runtime.artifact import Artifact
from runtime.errors import InputRejectedError, RecipeError

Batch = npt.NDArray[np.float32]


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


def check_fits(batch: Batch, dims: tuple[int | None, ...], *, path: Path) -> None:
    """Raise unless `batch` fits a file whose free dimensions are None.

    The number of images is left out: `in_slices` deals with it.
    """
    fits = len(batch.shape) == len(dims) and all(
        want is None or size == want
        for size, want in zip(batch.shape[1:], dims[1:], strict=True)
    )
    if not fits:
        wanted = ["n", *("any" if size is None else str(size) for size in dims[1:])]
        raise InputRejectedError(
            f"{path}: a batch of shape {list(batch.shape)} was given, the file takes "
            f"[{', '.join(wanted)}]; check the size and the layout (NCHW or NHWC)"
        )


def in_slices(step: Callable[[Batch], Batch], batch: Batch, *, fixed: int) -> Batch:
    """Run a file that takes `fixed` images at a time over any number of them.

    The last slice is filled up by repeating its last image, whose extra answers are
    dropped.
    """
    answers = []
    for start in range(0, len(batch), fixed):
        piece = batch[start : start + fixed]
        missing = fixed - len(piece)
        if missing:
            piece = np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)])
        answers.append(step(piece)[: fixed - missing])
    return np.concatenate(answers)


def one_line(error: Exception) -> str:
    """What an interpreter complained about, short enough for a sentence."""
    limit = 200
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
