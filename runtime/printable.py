"""Text from elsewhere as text on a terminal: what would steer it is spelled out.

The name of a file, a class or a tensor may hold colours, a cursor that goes back, or
signs that turn the writing around; printed as they are, they write what we did not say.
"""

import unicodedata
from typing import Final

# Controls, halves of characters, separators of lines and paragraphs, and formats, of
# which all that turn the direction of writing.
_STEERING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners that Persian, Hindi and emoji are written with.
_HARMLESS: Final = frozenset("\u200c\u200d")
_COLUMNS: Final = 80  # of the terminal that everything fits into
_NAMED: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str, *, lines: bool = False) -> str:
    r"""`text` with everything that steers a terminal as `\x1b`, `\n` or `\u202e`.

    With `lines` it is a text of several, whose ends stay.
    """
    if lines:
        return "\n".join(map(printable, text.split("\n")))
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelled(sign) if _steers(sign) else sign for sign in text)


def folded(sentence: str) -> list[str]:
    """`sentence` in lines of 80 columns; names and what has hyphens stay whole."""
    import textwrap  # of what is printed last; most that is printable is no sentence

    return textwrap.wrap(
        sentence,
        _COLUMNS,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _steers(sign: str) -> bool:
    """Whether a character is none that one sees."""
    return sign not in _HARMLESS and unicodedata.category(sign) in _STEERING


def _spelled(sign: str) -> str:
    """A character by its number, as in Python."""
    if sign in _NAMED:
        return _NAMED[sign]
    number = ord(sign)
    if number > 0xFFFF:  # noqa: PLR2004  # what four digits hold
        return f"\\U{number:08x}"
    return f"\\u{number:04x}" if number > 0xFF else f"\\x{number:02x}"  # noqa: PLR2004  # two
