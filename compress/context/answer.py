"""What a verb answers with: the same facts as text, as JSON and as an exit code."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.errors import Exit


class Answer(Protocol):
    """The outcome of a verb."""

    @property
    def exit_code(self) -> int:
        """The verdict."""
        ...

    def as_text(self) -> str:
        """For a person, at most 80 columns."""
        ...

    def as_json(self) -> str:
        """For a script."""
        ...


@dataclass(frozen=True, kw_only=True)
class Facts:
    """An answer whose text is ready and whose facts are plain data."""

    text: str
    facts: Mapping[str, object] | Sequence[object]
    exit_code: int = Exit.FIT

    def as_text(self) -> str:
        """The text as it is."""
        return self.text

    def as_json(self) -> str:
        """The facts, keys in their order."""
        return json.dumps(self.facts, indent=2)
