"""The journal takes whole events, and gives back those that are whole."""

import json
import resource
from pathlib import Path

import pytest

from compress.context.journal import append, events, points
from runtime.errors import RecipeError


def test_what_follows_a_torn_line_has_a_line_of_its_own(tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"
    append(journal, {"kind": "tell", "text": "one"})
    with journal.open("ab") as stream:
        stream.write(b'{"time": 17, "te\xc3')  # in the middle of a letter, even
    append(journal, {"kind": "tell", "text": "two"})
    append(journal, {"kind": "tell", "text": "three"})

    assert [event["text"] for event in events(journal)] == ["one", "two", "three"]
    assert len(journal.read_bytes().splitlines()) == 4


def test_what_the_disk_takes_only_half_of_is_taken_back(tmp_path: Path) -> None:
    """The kernel itself refuses to go on at some byte of the second line."""
    journal = tmp_path / "events.jsonl"
    append(journal, {"text": "one"})
    before = journal.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 9, limits[1]))
    try:
        with pytest.raises(RecipeError, match=r"events\.jsonl: cannot be written: "):
            append(journal, {"text": "two"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert journal.read_bytes() == before


def test_points_are_the_last_of_each_epoch_and_nothing_else(tmp_path: Path) -> None:
    journal = tmp_path / "events.jsonl"

    def epoch(**point: object) -> dict[str, object]:
        return {"kind": "epoch", "text": json.dumps(point)}

    last = {"stage": "a", "epoch": 1.0, "loss": 2.0}
    append(journal, epoch(stage="a", epoch=1.0, loss=3.0))
    append(journal, epoch(stage="a"))
    append(journal, {"kind": "epoch"})
    append(journal, {"kind": "tell", "text": json.dumps(last)})
    append(journal, epoch(**last))

    assert points(journal) == [last]
    assert points(tmp_path / "none") == []
