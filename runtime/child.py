"""Modules of ours in a process of their own, which shares nothing with this one."""

import subprocess
import sys
from pathlib import Path
from typing import Final

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
    """Run `module` as a program with `words`; raises what `subprocess.run` raises."""
    return subprocess.run(  # noqa: S603  # our own module, no shell
        [sys.executable, "-c", _START, _ROOT, module, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=patience_s,
    )
