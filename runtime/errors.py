"""What can go wrong, as sentences, each kind with the exit code scripts rely on."""

from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """The verdict of a command; the table is part of the contract."""

    FIT = 0
    BUG = 1
    USAGE = 2
    REJECTED = 3
    PARITY = 4
    BUDGET = 5
    MISSING = 6
    DEVICE = 7
    INTERRUPTED = 130


class EdgepressError(Exception):
    """A sentence for the user: where, what was found, what is allowed, what to do."""

    exit_code: ClassVar[Exit] = Exit.BUG


class RecipeError(EdgepressError):
    """The command line or the recipe asks for something that does not exist."""

    exit_code = Exit.USAGE


class InputRejectedError(EdgepressError):
    """A file or data set is corrupt, unsafe or of the wrong shape."""

    exit_code = Exit.REJECTED


class ParityError(EdgepressError):
    """An exported file does not compute what was trained."""

    exit_code = Exit.PARITY


class MissingDependencyError(EdgepressError):
    """A library that the verb needs is not installed."""

    exit_code = Exit.MISSING


class DeviceError(EdgepressError):
    """A device cannot be reached, or what it measured is not to be trusted."""

    exit_code = Exit.DEVICE


class InterruptedRunError(EdgepressError):
    """The user stopped the run; what was finished is kept and can be resumed."""

    exit_code = Exit.INTERRUPTED


def one_line(error: BaseException) -> str:
    """What a library complained about, short enough for a sentence."""
    limit = 200
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
