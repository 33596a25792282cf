"""Libraries written in C++ keep their chatter off the user's terminal."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*descriptors: int) -> Iterator[None]:
    """Lead `descriptors`, 1 for stdout and 2 for stderr, nowhere within the block.

    C++ writes to the descriptors themselves, past Python's own streams. Where one of
    them is closed already, there is nothing to keep off it.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(tempfile.TemporaryFile())
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                kept = os.dup(descriptor)
                stack.callback(os.close, kept)
                stack.callback(os.dup2, kept, descriptor)
                os.dup2(sink.fileno(), descriptor)
        yield
