"""Work that takes long says how far it is: in a log, on a terminal, never if quiet."""

import io
import sys
from collections.abc import Iterator
from operator import length_hint

import numpy as np
import pytest

from compress.context import console as consoles
from compress.context.console import Console
from compress.context.progress import Counted, passed, progress_on, rounds
from compress.data.batches import evaluation_batches
from compress.data.data import Images


class Clock:
    """A clock that only ticks when told to."""

    now = 100.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def time(self) -> float:
        """Seconds, too."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The screen's clock, at a moment at which something has just been said."""
    found = Clock()
    monkeypatch.setattr(consoles, "time", found)
    monkeypatch.setattr(consoles._VOICE, "said", found.now)
    return found


def test_a_pass_that_lasts_says_how_far_it_is_and_for_how_long(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_on(Console()):
        for _ in passed("measuring ranges", [1, 2, 3, 4]):
            clock.now += 10
    # After 10 s nothing, after 20 s a line, 30 s are too soon, and after 40 s it ends.
    assert capsys.readouterr().err.splitlines() == [
        "measuring ranges: 50%, about 20 s left, 2 of 4",
        "measuring ranges: 100%, about 0 s left, 4 of 4",
    ]


def test_many_short_passes_are_no_reason_for_silence(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three passes of 12 s each: the first line comes within the second."""
    with progress_on(Console()):
        for title in "abc":
            for _ in passed(title, range(4)):
                clock.now += 3
    said = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in said] == ["b: 25%", "c: 50%"]


def test_a_loop_over_layers_has_one_estimate(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[tuple[str, int]] = []
    with progress_on(Console()):
        for name, batches in rounds("least squares", ["a", "b"], lambda: [1, 2]):
            for batch in batches:
                shown.append((name, batch))
                clock.now += 16
    assert shown == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"least squares: {share}%" for share in (25, 50, 75, 100)
    ]


@pytest.mark.parametrize("voice", [None, Console(verbosity="quiet")])
def test_nothing_is_said_where_nobody_listens(
    clock: Clock, voice: Console | None, capsys: pytest.CaptureFixture[str]
) -> None:
    def all_of() -> list[int]:
        given = []
        for thing in passed("ranges", [1, 2]):
            clock.now += 60
            given.append(thing)
        return given

    if voice is None:
        assert all_of() == [1, 2]
    else:
        with progress_on(voice):
            assert all_of() == [1, 2]
    assert capsys.readouterr().err == ""


def test_of_a_task_within_another_only_the_outer_is_shown(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_on(Console()):
        for _ in passed("outer", [1, 2]):
            for _ in passed("inner", [1, 2]):
                clock.now += 20
        for _ in passed("later", [1]):
            clock.now += 20
    said = [line.split(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert said == ["outer", "outer", "later"]


def test_a_pass_that_fails_leaves_the_screen_to_the_next(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing() -> None:
        for _ in passed("broken", [1, 2]):
            raise RuntimeError("lost")

    with progress_on(Console()):
        with pytest.raises(RuntimeError, match="lost"):
            failing()
        for _ in passed("next", [1]):
            clock.now += 20
    assert capsys.readouterr().err == "next: 100%, about 0 s left, 1 of 1\n"


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def test_a_terminal_gets_a_bar_but_lines_while_something_is_timed(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[bool, str] = {}
    for timing in (False, True):
        terminal = Terminal()
        with monkeypatch.context() as patch, progress_on(Console()):
            patch.setattr(sys, "stderr", terminal)
            patch.setenv("TERM", "xterm")
            for _ in passed("layers", [1], timing=timing):
                clock.now += 20
        drawn[timing] = terminal.getvalue()
    assert "━" in drawn[False]
    assert "\x1b[2K" in drawn[False]  # and is wiped away when it is over
    assert drawn[True] == "layers: 100%, about 0 s left, 1 of 1\n"


def test_a_counted_iterator_knows_what_is_left() -> None:
    def things() -> Iterator[int]:
        yield from (1, 2, 3)

    left = Counted(things(), 3)
    assert length_hint(left) == 3
    assert next(left) == 1
    assert length_hint(left) == 2
    assert list(left) == [2, 3]
    assert length_hint(left) == 0


@pytest.mark.parametrize("count", [1, 8, 9])
def test_batches_are_as_many_as_they_say(count: int) -> None:
    pixels = np.zeros((count, 4, 4, 3), np.uint8)
    images = Images(pixels=pixels, labels=np.zeros(count, np.int64), digest="", size=4)
    given = evaluation_batches(images, 8)
    assert length_hint(given) == len(list(given))
