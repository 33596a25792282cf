"""What a program complained of when it failed: the last line that it said."""

from typing import Final

from runtime.printable import printable

NOTHING: Final = "it said nothing"


def complaint(stderr: bytes, *, longest: int = 400) -> str:
    """The last line of `stderr`, cut to `longest` characters, fit for a terminal."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return printable(lines[-1])[:longest] if lines else NOTHING
