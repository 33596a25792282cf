"""Text in columns: aligned for a terminal, wrapped, or as a Markdown table."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

# What a page is cut to, and what a terminal may change it to.
WIDTH: Final = 80
NARROWEST: Final = 60
WIDEST: Final = 120


def width() -> int:
    """Columns to write in: the terminal's, within reason; 80 where there is none."""
    if not (sys.stdout.isatty() or "COLUMNS" in os.environ):
        return WIDTH
    return min(WIDEST, max(NARROWEST, shutil.get_terminal_size((WIDTH, 24)).columns))


def rule() -> str:
    """A line across."""
    return "─" * width()


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines as wide as a terminal: names to the left and cut to fit, numbers right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][1:]
    room = width() - sum(widths) - 2 * len(widths)
    return [
        cut(name, room).ljust(room)
        + "".join(
            f"  {cell:>{columns}}" for cell, columns in zip(cells, widths, strict=True)
        )
        for name, *cells in rows
    ]


def cut(name: str, room: int) -> str:
    """`name` in at most `room` columns."""
    return name if len(name) <= room else name[: room - 1] + "…"


def wrapped(note: str, room: int) -> list[str]:
    """A note in lines, numbers kept with their units."""
    units_kept = re.sub(r"(?<=\d) (?=%|dB|MB|ms)", "\u00a0", note)
    lines = textwrap.wrap(
        units_kept, room, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\u00a0", " ") for line in lines]


def piped(
    heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, names: int = 1
) -> list[str]:
    """A Markdown table; the first `names` columns to the left, numbers to the right."""
    marks = ["---" if index < names else "---:" for index in range(len(heads))]
    return [
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        for cells in (heads, tuple(marks), *rows)
    ]
