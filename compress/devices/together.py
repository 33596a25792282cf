"""Several devices at once, so many at a time; one that fails stops no other."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Final, TypeVar

from compress.devices.wire import hang_up
from runtime.errors import Exit

T = TypeVar("T")
R = TypeVar("R")

# Connections at a time: a laptop bears them, and an access point.
AT_ONCE: Final = 16


def together(
    work: Callable[[T], R], items: Sequence[T], *, at_once: int = AT_ONCE
) -> Iterator[tuple[T, R]]:
    """Give each item with what `work` makes of it, as they are done.

    No more than `at_once` are begun and not yet taken, whatever their number. Where
    this is left early, by Ctrl-C for one, all connections end.
    """
    left = iter(items)
    with ThreadPoolExecutor(at_once) as pool:
        begun: dict[Future[R], T] = {}
        try:
            while True:
                for item in islice(left, at_once - len(begun)):
                    begun[pool.submit(work, item)] = item
                if not begun:
                    return
                done, _ = wait(begun, return_when=FIRST_COMPLETED)
                for future in done:
                    yield begun.pop(future), future.result()
                    del future
        finally:
            while begun:  # also those that are about to connect
                hang_up()
                for future in wait(begun, timeout=0.2).done:
                    del begun[future]


def worst(codes: Sequence[int]) -> int:
    """The exit code of several: a bug before all, then the highest."""
    return Exit.BUG if Exit.BUG in codes else max(codes, default=Exit.FIT)
