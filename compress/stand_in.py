"""What this machine runs in place of a file that is laid out for other kernels."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from runtime.artifact import Artifact
from runtime.batch import Batch
from runtime.machine import this_machine
from runtime.session import Session, open_session
from runtime.target import int8_target, known_target


class StandIn:
    """A Session that answers for a file by its equal for this machine."""

    def __init__(self, artifact: Artifact, session: Session) -> None:
        """Answer for `artifact` by `session`, which runs `equal`."""
        self.artifact: Final = artifact
        self.equal: Final = session.artifact
        self._session: Final = session
        self.threads: Final = session.threads
        self.runtime: Final = session.runtime
        self.load_ms: Final = session.load_ms
        self.input_shape: Final = session.input_shape

    def run(self, batch: Batch) -> Batch:
        """Map a batch in the file's layout to float32 scores [n, classes]."""
        return self._session.run(batch)

    def bind(self, batch: Batch) -> Callable[[], object]:
        """One inference; its time says nothing about the file's."""
        return self._session.bind(batch)

    def close(self) -> None:
        """Let go of the model's memory."""
        self._session.close()


def answering(artifact: Artifact, *, threads: int = 1) -> Session:
    """What answers for a file on this machine, so that it can be proven here."""
    with TemporaryDirectory() as folder:
        session = open_session(stand_in(artifact, Path(folder)), threads=threads)
    return session if session.artifact is artifact else StandIn(artifact, session)


def stand_in(artifact: Artifact, folder: Path) -> Artifact:
    """The file to ask here: `artifact`, or its equal for this machine, in `folder`.

    A file for TensorRT is spelled so that its sums are exact (`export.exact`). An INT8
    ONNX file of another target's layout is proven by its own graph, laid out for the
    kernels that are here (`export.relaid`); every other file runs as it is, and so does
    every file on ARM, whose kernels sum exactly. Emulation shows that the two answer
    alike to the bit (`benchmarks/arm64.py`).
    """
    if artifact.format != "onnx" or artifact.dtype != "int8":
        return artifact
    made_for = known_target(artifact.target)
    if made_for is not None and made_for.rounds_reads:
        from export.exact import spelled

        return spelled(artifact, folder)
    layout = int8_target(this_machine()).layout
    if layout is None or layout.activations == "int8":
        return artifact
    if artifact.target in {None, layout.name}:
        return artifact
    from export.relaid import relaid

    return relaid(artifact, layout, folder)
