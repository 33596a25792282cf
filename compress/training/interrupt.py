"""Stopping politely: an interrupt is noted, and answered where nothing is lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """Whether somebody asked to stop."""

    asked: bool = False


@contextmanager
def stopping_politely() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into a flag while the block runs.

    A second signal is answered at once, as if this were not here. Outside the main
    thread Python allows no handlers, and the block runs without.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    watched = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in watched}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        stop.asked = True
        signal.signal(number, before[signal.Signals(number)])

    for number in watched:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
