"""The conversation: what a run says on stderr while it works, and its event log."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Advance = Callable[[int, str], None]


def _ignore(steps: int, note: str) -> None:
    """Take no notice of progress."""
    del steps, note


def _say(sentence: str) -> None:
    """One line on stderr; a run goes on when nobody is left to listen."""
    with suppress(BrokenPipeError):
        print(sentence, file=sys.stderr, flush=True)  # noqa: T201


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Where a run speaks; `journal` also keeps every sentence with its time."""

    verbosity: Literal["quiet", "normal", "verbose"] = "normal"
    journal: Path | None = None

    def tell(self, sentence: str) -> None:
        """Say what is going on, once."""
        self.note("tell", sentence)
        if self.verbosity != "quiet":
            _say(sentence)

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
        with self.journal.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(event) + "\n")

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Advance]:
        """Show a bar with an estimate; the block calls `advance(steps, note)`."""
        if self.verbosity == "quiet" or not sys.stderr.isatty():
            started = time.monotonic()
            yield _ignore
            self.note("done", f"{title}: {time.monotonic() - started:.1f} s")
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        with bar:
            task = bar.add_task(title, total=total, note="")

            def advance(steps: int, note: str) -> None:
                bar.update(task, advance=steps, note=note)

            yield advance
