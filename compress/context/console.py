"""The conversation: what a run says on stderr while it works, and its event log."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from compress.context.journal import append
from runtime.printable import printable

Advance = Callable[[int, str], None]
LINE_SECONDS: Final = 15.0  # between two lines of progress in a log


def counted(number: int, thing: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{number} {thing}{'s' * (number != 1)}"


def _ignore(steps: int, note: str) -> None:
    """Take no notice of progress."""
    del steps, note


@dataclass
class _Voice:
    """What stderr, which a process has one of, is being used for.

    said: when it last was; drawing: whether somebody's progress is being shown.
    """

    said: float
    drawing: bool = False


_VOICE: Final = _Voice(said=time.monotonic())


def _say(sentence: str) -> None:
    """One line on stderr; a run goes on when nobody can listen, or no disk keep it."""
    _VOICE.said = time.monotonic()
    with suppress(OSError):
        print(printable(sentence), file=sys.stderr, flush=True)  # noqa: T201


@dataclass(frozen=True, kw_only=True)
class Console:
    """Where a run speaks; `journal` also keeps every sentence with its time."""

    verbosity: Literal["quiet", "normal", "verbose"] = "normal"
    journal: Path | None = None

    def tell(self, sentence: str) -> None:
        """Say what is going on, once."""
        self.note("tell", sentence)
        if self.verbosity != "quiet":
            _say(sentence)

    def doubt(self, sentence: str) -> None:
        """Say why the result may not be worth much; the report says it again."""
        self.note("doubt", sentence)
        if self.verbosity != "quiet":
            _say(f"doubt: {sentence}")

    def detail(self, sentence: str) -> None:
        """Say what only the curious want to hear (`-v`)."""
        self.note("detail", sentence)
        if self.verbosity == "verbose":
            _say(sentence)

    def curve(self, title: str, epochs: int, point: Mapping[str, float]) -> None:
        """Keep one epoch of a training curve in the journal, for the report."""
        self.note("epoch", json.dumps({"stage": title, "epochs": epochs, **point}))

    def note(self, kind: str, sentence: str) -> None:
        """Append an event to the run's journal, if it has one."""
        if self.journal is None:
            return
        event = {"time": round(time.time(), 3), "kind": kind, "text": sentence}
        append(self.journal, event)

    @contextmanager
    def progress(
        self, title: str, total: int, *, passing: bool = False, timing: bool = False
    ) -> Iterator[Advance]:
        """Show how far a task is, and for how long it will go on.

        The block calls `advance(steps, note)`. A terminal gets a bar, a log a line now
        and then; of a task within another one only the outer is shown. passing: the
        bar is wiped away in the end. timing: latencies are taken between the steps, so
        that nothing may be drawn there, and a terminal gets lines, too.
        """
        if _VOICE.drawing:
            yield _ignore
            return
        started = time.monotonic()
        _VOICE.drawing = True
        try:
            if self.verbosity == "quiet":
                yield _ignore
            elif sys.stderr.isatty() and not timing:
                with _bar(title, total, passing=passing) as advance:
                    yield advance
            else:
                yield _lines(title, total)
        finally:
            _VOICE.drawing = False
        self.note("done", f"{title}: {time.monotonic() - started:.1f} s")


def _lines(title: str, total: int) -> Advance:
    """Say a line wherever nothing was said for long; for logs, where a bar is noise.

    Counted from the last sentence of the process: many short tasks are silent, too.
    """
    started = time.monotonic()
    done = skipped = 0

    def advance(steps: int, note: str) -> None:
        nonlocal done, skipped
        done += steps
        now = time.monotonic()
        if not note:  # taken up from an earlier run, not done in this one
            skipped += steps
        if now - _VOICE.said < LINE_SECONDS or done == skipped:
            return
        left = (now - started) * (total - done) / (done - skipped)
        _say(f"{title}: {done / total:.0%}, about {left:.0f} s left, {note}")

    return advance


@contextmanager
def _bar(title: str, total: int, *, passing: bool) -> Iterator[Advance]:
    """Draw a bar with an estimate."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        transient=passing,
    )
    with bar:
        task = bar.add_task(printable(title), total=total, note="")

        def advance(steps: int, note: str) -> None:
            bar.update(task, advance=steps, note=printable(note))

        try:
            yield advance
        finally:
            _VOICE.said = time.monotonic()
