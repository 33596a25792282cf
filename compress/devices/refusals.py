"""Why a board cannot be reached, as one sentence: what `ssh` said, and what to do."""

from collections.abc import Callable
from typing import Final

from compress.devices.address import Address
from compress.devices.inventory import Board
from compress.devices.wire import OLDEST_PYTHON, TOO_OLD, LostError
from runtime.printable import printable

_SSH_FAILED: Final = 255
_NOT_FOUND: Final = (126, 127)  # of a shell: not to be run, not there
_LONGEST: Final = 300

# What OpenSSH's client writes, which it translates into no language, and what that
# means; the first one that is found counts.
_MEANINGS: Final[tuple[tuple[str, Callable[[Address], str]], ...]] = (
    (
        "HOST IDENTIFICATION HAS CHANGED",
        lambda to: (
            f"the key of {to.host} is not the one it had before, so another machine "
            "may be answering; if it was set up anew, forget the old key with "
            f"`ssh-keygen -R {_known_as(to)}` and compare the new one by hand: "
            f"`ssh {to.words}`"
        ),
    ),
    (
        "Host key verification failed",
        lambda to: (
            f"the key of {to.host} is not known on this machine; compare it by hand, "
            f"once: `ssh {to.words}`"
        ),
    ),
    (
        "Permission denied",
        lambda to: (
            f"{to.host} takes none of your keys for {to.user or 'your name'}; "
            f"put one there: `ssh-copy-id {to.words}` (one with a passphrase wants "
            "`ssh-add` first)"
        ),
    ),
    (
        "Too many authentication failures",
        lambda to: (
            f"{to.host} takes none of the first keys of yours; name the right one in "
            "~/.ssh/config (IdentityFile, IdentitiesOnly yes)"
        ),
    ),
    (
        "Could not resolve hostname",
        lambda to: f"there is no host {to.host}; mind the name, or give its IP address",
    ),
    (
        "Connection refused",
        lambda to: (
            f"nothing listens on port {to.port or 22} of {to.host}; switch its SSH "
            "server on (Raspberry Pi: `sudo raspi-config nonint do_ssh 0`)"
        ),
    ),
    ("timed out", lambda to: f"{to.host} does not answer; is it on, and connected?"),
    ("No route to host", lambda to: f"{to.host} is not on any network of this machine"),
    ("Network is unreachable", lambda to: f"no network leads to {to.host} from here"),
)


def why_lost(board: Board, lost: LostError, *, doing: str, began: bool) -> str:
    """The sentence for a connection that ended while it was `doing` something.

    began: whether the far end had said anything before.
    """
    to, said = board.address, lost.said
    for sign, meaning in _MEANINGS:
        if not began and lost.status == _SSH_FAILED and sign in said:
            return f"{board.name}: {meaning(to)}"
    last = _last(said)
    if lost.late:
        return (
            f"{board.name}: no answer in time while {doing}; it was ended; is the "
            "board overloaded, or the network slow?"
        )
    if not began and (lost.status in _NOT_FOUND or "not found" in last):
        return (
            f"{board.name}: {printable(board.python)!r} cannot be run there ({last}); "
            f"{_remedy(board)}, or name "
            f"another: `compress devices add {board.name} {to} --python PATH`"
        )
    if not began and TOO_OLD in said:
        least = ".".join(map(str, OLDEST_PYTHON))
        return (
            f"{board.name}: Python {last.rpartition(' ')[2]} is too old there; "
            f"allowed: {least} or newer; name another one with --python PATH"
        )
    why = f" ({last})" if last else ""
    if lost.status == _SSH_FAILED or lost.status < 0:
        return (
            f"{board.name}: the connection was lost while {doing}{why}; what was "
            "copied is kept there; run the same command again"
        )
    return (
        f"{board.name}: the program there ended with {lost.status} while {doing}{why}"
    )


def _known_as(to: Address) -> str:
    """A host as `known_hosts` names it."""
    return f"'[{to.host}]:{to.port}'" if to.port not in {None, 22} else to.host


def _last(said: str) -> str:
    """The last line that is one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return printable(lines[-1])[:_LONGEST] if lines else ""


def _remedy(board: Board) -> str:
    """How to get the interpreter that is not there."""
    if "/" in board.python:  # of an environment: Python itself may well be there
        folder = board.python.partition("/bin/")[0]
        return f"make it there (`python3 -m venv {printable(folder)}`)"
    return f"install it (`ssh -t {board.address.words} 'sudo apt install python3'`)"
