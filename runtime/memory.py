"""How much memory a model needs, measured in a process of its own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.child import python_module

_PATIENCE_S: Final = 120.0
_INFERENCES: Final = 3


@dataclass(frozen=True, kw_only=True)
class Memory:
    """High-water marks of resident memory in a fresh process, in bytes."""

    peak_rss_bytes: int  # Python, numpy, the interpreter and the model at work
    model_rss_bytes: int  # what loading and running this file added to that


def memory_of(path: Path, *, threads: int) -> Memory | None:
    """Load and run the file in a fresh process; None if that process cannot be made.

    It shares nothing with its parent, whose memory would otherwise count.
    """
    words = (str(path), str(threads))
    try:
        done = python_module("runtime.memory", *words, patience_s=_PATIENCE_S)
        before, after = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None
    return Memory(peak_rss_bytes=after, model_rss_bytes=max(0, after - before))


def high_water_bytes() -> int:
    """The most memory this process ever had resident.

    `VmHWM` belongs to the program that runs now; `ru_maxrss` would also remember the
    parent from which this process was forked (Linux: getrusage(2) survives execve).
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _main(path: Path, *, threads: int) -> None:
    """Be the fresh process: print the high-water marks without and with the model."""
    import numpy as np

    from runtime.artifact import Artifact
    from runtime.session import load_interpreter, open_session

    artifact = Artifact.read(path)
    load_interpreter(artifact)
    before = high_water_bytes()
    session = open_session(artifact, threads=threads)
    batch = np.zeros(session.input_shape, np.float32)
    once = session.bind(batch)
    for _ in range(_INFERENCES):
        once()
    sys.stdout.write(json.dumps([before, high_water_bytes()]) + "\n")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), threads=int(sys.argv[2]))
