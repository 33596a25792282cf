"""Modules of ours in a process of their own, which shares nothing with this one."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from runtime.programs import run_program

# Where `runtime` lies, and so the other packages.
_ROOT: Final = str(Path(__file__).resolve().parents[1])
# As `python -m` does, but for the folder that the user is in: that one may come from
# elsewhere, and a `json.py` in it would be imported before Python's.
_START: Final = """\
import sys
sys.path[:] = [place for place in sys.path if place]
root, module = sys.argv[1:3]
del sys.argv[1:3]
if root not in sys.path:
    sys.path.insert(0, root)
import runpy
runpy.run_module(module, run_name="__main__")
"""


def python_module(
    module: str, *words: str, patience_s: float
) -> subprocess.CompletedProcess[bytes]:
    """Run `module` as a program with `words`; raises what `run_program` raises."""
    start = (sys.executable, "-c", _START, _ROOT)
    return run_program((*start, module, *words), patience_s=patience_s)
