"""Libraries keep their chatter off the user's terminal, those in C++, too."""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
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


@contextlib.contextmanager
def silence(*descriptors: int) -> Iterator[None]:
    """Keep prints, warnings and logs of Python to themselves; errors still raise.

    `descriptors` are quiet as well, for libraries with C++ inside.
    """
    before = logging.root.manager.disable
    with (
        quiet(*descriptors),
        warnings.catch_warnings(),
        open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123  # a device
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
