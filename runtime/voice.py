"""Whoever listens while work goes on: a console, a log, nobody."""

from typing import Protocol


class Voice(Protocol):
    """Whoever passes sentences on to the user."""

    def tell(self, sentence: str) -> None:
        """Say one sentence."""
        ...
