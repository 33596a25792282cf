"""The far end by itself: its text, its store, and what it keeps."""

import ast
import hashlib
import os
import sys
import time
from pathlib import Path

import pytest

from compress.devices import agent
from compress.devices.parcel import runtime_piece
from compress.devices.wire import AGENT


def test_the_far_end_is_written_for_the_oldest_python_and_imports_nothing_of_ours() -> (
    None
):
    tree = ast.parse(AGENT.read_text(), feature_version=(3, 9))
    named = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        str(node.module).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert named <= sys.stdlib_module_names


def test_equal_sources_make_equal_archives() -> None:
    """Whenever they are packed, so that a board gets them once."""
    first = runtime_piece()
    runtime_piece.cache_clear()
    second = runtime_piece()
    assert first == second
    assert isinstance(first.content, bytes)
    assert hashlib.sha256(first.content).hexdigest() == first.sha256


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the store will be."""
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path))
    return tmp_path / "board"


def aged(path: Path, days: float) -> Path:
    """As if last used so long ago."""
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    return path


def test_the_store_keeps_what_was_used_last(place: Path) -> None:
    """Sparse files: sizes without bytes."""
    store = agent._Store()
    for days, name in enumerate(("a", "b", "c")):
        with (place / name).open("wb") as stream:
            stream.truncate(450_000_000)
        aged(place / name, days)
    for days in range(5):
        (place / f"lib-{days}").mkdir()
        aged(place / f"lib-{days}", days)
    (place / "x.part").write_bytes(b"x")
    aged(place / "x.part", 8)
    (place / "y.part").write_bytes(b"y")
    store.trim()
    kept = {path.name for path in place.iterdir()}
    assert kept == {"a", "b", "lib-0", "lib-1", "lib-2", "y.part", "lock"}


def test_a_file_that_was_spoiled_in_the_store_is_not_there(place: Path) -> None:
    store = agent._Store()
    sha256 = hashlib.sha256(b"content").hexdigest()
    for content, had in ((b"content", 7), (b"cOntent", 0)):
        (place / sha256).write_bytes(content)
        assert store.have({"files": {sha256: 7}})["have"] == {sha256: had}
    assert not (place / sha256).exists()


def test_folders_of_runs_that_were_killed_are_swept(place: Path) -> None:
    (place / "run-old" / "files").mkdir(parents=True)
    agent._Store()
    assert not (place / "run-old").exists()
