"""One command in a fork of this process, within limits; what became of it."""

import contextlib
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GB: Final = 10**9
# More than this is a failure; a little beyond, the process is stopped.
MOST_BYTES: Final = 4 * GB
# What a command may end with; 1 is a bug.
ALLOWED: Final = frozenset({0, 2, 3, 4, 5, 6, 7})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a command ended."""

    exit_code: int | None  # None: by a signal, or not at all
    signal: int | None
    seconds: float
    hung: bool
    peak_bytes: int
    told: str  # its stderr
    bug: str  # the traceback that it kept, if any

    @property
    def failure(self) -> str | None:
        """What is wrong with that, in a word and where; None if nothing is."""
        if self.hung:
            return "hang"
        if self.signal is not None:
            return f"crash {signal.Signals(self.signal).name}"
        if self.exit_code not in ALLOWED or "Traceback" in self.told:
            return f"bug {_where(self.bug or self.told)}"
        if self.peak_bytes > MOST_BYTES or "out of memory" in self.told:
            return "memory"
        return None


def forked(
    main: Callable[[list[str]], int],
    words: list[str],
    *,
    folder: Path,
    environment: dict[str, str],
    patience_s: float,
) -> Outcome:
    """Run `main(words)` in a fork that writes below `folder`, for at most a while."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_the_child(main, words, folder, environment)
    hung, status, used = False, 0, None
    while used is None:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            used = usage
        elif not hung and time.monotonic() - started > patience_s:
            hung = True
            os.killpg(child, signal.SIGKILL)
        else:
            time.sleep(0.005)
    bugs = sorted(folder.glob("edgepress-bug-*.txt"))
    return Outcome(
        exit_code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        seconds=time.monotonic() - started,
        hung=hung,
        peak_bytes=used.ru_maxrss * 1024,
        told=(folder / "stderr").read_text(encoding="utf-8", errors="replace"),
        bug=bugs[0].read_text(encoding="utf-8", errors="replace") if bugs else "",
    )


def _be_the_child(
    main: Callable[[list[str]], int],
    words: list[str],
    folder: Path,
    environment: dict[str, str],
) -> None:
    """Never return; the exit status is what the command gives."""
    os.setsid()
    code = 1
    try:
        os.environ.update(environment)
        tempfile.tempdir = str(folder)
        os.chdir(folder)
        for name, stream in (("stdout", 1), ("stderr", 2)):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), stream)
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        most = pages * resource.getpagesize() + MOST_BYTES + GB
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        code = main(words)
    except SystemExit as done:
        code = int(done.code or 0)
    except BaseException:  # noqa: BLE001  # what got past the last net is the find
        traceback.print_exc()
    finally:
        for output in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                output.flush()
        os._exit(code)


def _where(text: str) -> str:
    """The innermost line of ours in a traceback, and the error: what sorts finds."""
    lines = text.strip().split("\n")
    ours = [line for line in lines if 'File "' in line and "site-packages" not in line]
    error = lines[-1].partition(":")[0][:60] if lines else "?"
    if not ours:
        return error
    file, _, rest = ours[-1].strip().removeprefix('File "').partition('", line ')
    parts = Path(file).parts[-3:]
    return f"{'/'.join(parts)}:{rest.partition(',')[0]} {error}"
