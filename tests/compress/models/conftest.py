"""What the tests of models share: a console that keeps its sentences."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compress.context.console import Console


@pytest.fixture
def console(tmp_path: Path) -> Console:
    """A console that is silent and writes a journal."""
    return Console(verbosity="quiet", journal=tmp_path / "events.jsonl")


@pytest.fixture
def told(console: Console) -> Callable[[], str]:
    """Everything that the console was told so far, a sentence a line."""

    def sentences() -> str:
        journal = console.journal
        if journal is None or not journal.is_file():
            return ""
        lines = journal.read_text(encoding="utf-8").splitlines()
        return "\n".join(str(json.loads(line)["text"]) for line in lines)

    return sentences
