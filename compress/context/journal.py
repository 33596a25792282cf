"""The journal of a run: an event a line, the one file that is appended to."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from runtime.files import unwritable


def append(journal: Path, event: Mapping[str, object]) -> None:
    """Add an event, on a line of its own even if the last one was torn.

    What a full disk takes only half of is taken back, and RecipeError says so.
    """
    line = (json.dumps(event) + "\n").encode("ascii")
    try:
        with journal.open("ab+", buffering=0) as stream:
            size = stream.seek(0, os.SEEK_END)
            if size and os.pread(stream.fileno(), 1, size - 1) != b"\n":
                line = b"\n" + line
            try:
                while line:
                    line = line[stream.write(line) :]
            except OSError:
                stream.truncate(size)
                raise
    except OSError as error:
        raise unwritable(journal, error) from error


def events(journal: Path) -> list[dict[str, object]]:
    """Every whole event; a line that a full disk or a kill has torn is read past."""
    try:
        lines = journal.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = (_parsed(line) for line in lines)
    return [event for event in found if event is not None]


def points(journal: Path) -> list[dict[str, object]]:
    """The training curves that the journal kept; a repeated epoch counts once."""
    found: dict[tuple[object, object], dict[str, object]] = {}
    for event in events(journal):
        text = event.get("text")
        if event.get("kind") != "epoch" or not isinstance(text, str):
            continue
        point = _parsed(text)
        if point is not None and {"stage", "epoch"} <= set(point):
            found[str(point["stage"]), str(point["epoch"])] = point
    return list(found.values())


def doubts(journal: Path) -> tuple[str, ...]:
    """What was doubted while the run was at work, each reason once."""
    told = (e.get("text") for e in events(journal) if e.get("kind") == "doubt")
    return tuple(dict.fromkeys(text for text in told if isinstance(text, str)))


def _parsed(text: str | bytes) -> dict[str, object] | None:
    """The record that `text` is; None for anything else."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
