"""How a command ends, whatever happens: no traceback, the right code, no broken pipe.

Both entry points, `compress` and `python -m runtime`, end through here.
"""

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from runtime.printable import printable


def speak_plainly() -> None:
    """Let no character stop a program: a terminal may lack our rules, or be gone."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does: KeyboardInterrupt, wherever it is.

    What a batch system or a container sends first is then a sentence and exit code
    130, too, and what is half-made is cleaned up. A child that was forked meanwhile
    dies of it as usual. Outside the main thread Python allows no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours, before = os.getpid(), signal.getsignal(signal.SIGTERM)

    def interrupt(number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != ours:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(signal.Signals(number))
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Write to stdout; a reader that has seen enough, as `head` has, is no error."""
    try:
        yield
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
    except BrokenPipeError:
        _let_go()
    except OSError:  # a full disk behind `> file`; it is told, once
        _let_go()
        raise


def _let_go() -> None:
    """Keep Python from stumbling over what is still to be flushed when it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say_last(program: str, sentence: str) -> None:
    """One line on stderr, if anybody listens."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            sys.stderr.write(f"{program}: {printable(sentence)}\n")
            sys.stderr.flush()


def kept_as_bug(error: BaseException, command: Sequence[str]) -> str:
    """Keep the traceback in a file and tell where, in one sentence."""
    import tempfile
    import traceback

    trouble = f"{type(error).__name__}: {error}"
    told = f"this is a bug in edgepress ({trouble}); please report it"
    try:
        handle, path = tempfile.mkstemp(prefix="edgepress-bug-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(f"{' '.join(command)}\n\n")
            stream.writelines(traceback.format_exception(error))
    except OSError:  # no room for it, of all things
        return told
    return f"{told} with {path}"
