"""How much memory a model needs: high-water marks of a process (peak RSS)."""

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Memory:
    """High-water marks of resident memory in a fresh process, in bytes."""

    peak_rss_bytes: int  # Python, numpy, the interpreter and the model at work
    model_rss_bytes: int  # what loading and running this file added to that


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
