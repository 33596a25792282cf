"""What the tests of models share: a screen that keeps its sentences."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.context.console import Screen


@pytest.fixture
def screen(tmp_path: Path) -> Screen:
    """A screen that is silent and writes a journal."""
    return Screen(verbosity="quiet", journal=tmp_path / "events.jsonl")


@pytest.fixture
def told(screen: Screen) -> Callable[[], str]:
    """Everything that the screen was told so far, a sentence a line."""

    def sentences() -> str:
        journal = screen.journal
        if journal is None or not journal.is_file():
            return ""
        lines = journal.read_text(encoding="utf-8").splitlines()
        return "\n".join(str(json.loads(line)["text"]) for line in lines)

    return sentences
