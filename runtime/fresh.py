"""A fresh process that loads a model and answers: its memory, its cold start."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.child import python_module
from runtime.memory import Memory, high_water_bytes
from runtime.phases import ColdStart

_PATIENCE_S: Final = 120.0
_INFERENCES: Final = 3


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """What a process of its own knows about a file."""

    memory: Memory
    start: ColdStart


def fresh(path: Path, *, threads: int, runtime: str | None = None) -> Fresh | None:
    """Load and run the file in a fresh process; None if that process cannot be made.

    It shares nothing with its parent, whose memory and imports would otherwise count.
    """
    began_ns = time.monotonic_ns()
    words = (str(path), str(threads), runtime or "")
    try:
        done = python_module("runtime.fresh", *words, patience_s=_PATIENCE_S)
        before, after, imported_ns, load_ms, first_ns, ended_ns = json.loads(
            done.stdout
        )
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None
    return Fresh(
        memory=Memory(peak_rss_bytes=after, model_rss_bytes=max(0, after - before)),
        start=ColdStart(
            # One clock for all processes of a machine (CLOCK_MONOTONIC).
            total_ms=max(0, ended_ns - began_ns) / 1e6,
            import_ms=imported_ns / 1e6,
            load_ms=load_ms,
            first_ms=first_ns / 1e6,
        ),
    )


def _main(path: Path, *, threads: int, runtime: str | None) -> None:
    """Be the fresh process: print high-water marks and times."""
    began_ns = time.monotonic_ns()
    import numpy as np

    from runtime.artifact import Artifact
    from runtime.session import load_interpreter, open_session

    artifact = Artifact.read(path)
    load_interpreter(artifact, runtime=runtime)
    imported_ns = time.monotonic_ns() - began_ns
    before = high_water_bytes()
    session = open_session(artifact, threads=threads, runtime=runtime)
    batch = np.zeros(session.input_shape, np.float32)
    once = session.bind(batch)
    started_ns = time.monotonic_ns()
    once()
    ended_ns = time.monotonic_ns()
    for _ in range(_INFERENCES - 1):
        once()
    answer = [before, high_water_bytes(), imported_ns, session.load_ms]
    sys.stdout.write(json.dumps([*answer, ended_ns - started_ns, ended_ns]) + "\n")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), threads=int(sys.argv[2]), runtime=sys.argv[3] or None)
