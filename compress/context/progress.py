"""Progress of passes over images and of loops over layers, far from any console.

What takes long lies deep: a loop that a stage reaches through five functions, none of
which has anything to say. So the console is the surroundings', as a logger is: whoever
begins the work names it, once, and a loop says how far it is.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from operator import length_hint
from typing import Final, Generic, TypeVar

from compress.context.console import Console

_Thing = TypeVar("_Thing")
_Shown = TypeVar("_Shown")
_NOBODY: Final = Console(verbosity="quiet")
_SCREEN: Final = ContextVar("screen", default=_NOBODY)


@contextmanager
def progress_on(console: Console) -> Iterator[None]:
    """Let all that is passed over within the block be seen on `console`."""
    before = _SCREEN.set(console)
    try:
        yield
    finally:
        _SCREEN.reset(before)


class Counted(Generic[_Thing]):
    """An iterator that knows how many things are still to come (PEP 424)."""

    def __init__(self, things: Iterable[_Thing], count: int) -> None:
        """`count` of `things`, which are asked for one by one."""
        self._things, self._left = iter(things), count

    def __iter__(self) -> Iterator[_Thing]:
        """Itself, as any iterator."""
        return self

    def __next__(self) -> _Thing:
        """The next thing."""
        thing = next(self._things)
        self._left -= 1
        return thing

    def __length_hint__(self) -> int:
        """How many there are still."""
        return max(0, self._left)


def passed(
    title: str, things: Iterable[_Thing], *, timing: bool = False
) -> Iterator[_Thing]:
    """Give `things` one by one, and show under `title` how far that is.

    They are told by number, so nothing is said of a generator, which has none.
    timing: see `Console.progress`.
    """
    total = length_hint(things)
    if not total:
        yield from things
        return
    console = _SCREEN.get()
    with console.progress(title, total, passing=True, timing=timing) as advance:
        for done, thing in enumerate(things, start=1):
            yield thing
            advance(1, f"{done} of {total}")


def rounds(
    title: str,
    things: Collection[_Thing],
    images: Callable[[], Iterable[_Shown]],
) -> Iterator[tuple[_Thing, Iterable[_Shown]]]:
    """Give each of `things` with a pass over `images` of its own; progress of them all.

    One estimate for a loop over layers each of which looks at every image.
    """
    each = length_hint(images())
    if not each or not things:
        yield from ((thing, images()) for thing in things)
        return
    total = each * len(things)
    with _SCREEN.get().progress(title, total, passing=True) as advance:

        def shown(place: int) -> Iterator[_Shown]:
            for batch in images():
                yield batch
                advance(1, f"{place} of {len(things)}")

        for place, thing in enumerate(things, start=1):
            yield thing, shown(place)
