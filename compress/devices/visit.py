"""A visit to a board: copy what is not there yet, lay it out, run programs on it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Annotated, Final

from compress.devices.inventory import Board
from compress.devices.parcel import Piece
from compress.devices.refusals import why_lost
from compress.devices.wire import LostError, RefusedError, Wire
from compress.report.units import size
from runtime.errors import DeviceError, MissingDependencyError
from runtime.plain_json import LARGEST_BYTES
from runtime.printable import printable
from runtime.typed import Between, record_as

# Copied at once; also what is lost at most when a connection is.
_CHUNK_BYTES: Final = 1 << 18
_LONGEST: Final = 400  # of a sentence from there

_Bytes = Annotated[int, Between(0, 2**62)]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds that a board has.

    connect: to take the connection; answer: between any request and its answer, on a
    slow board with a slow card; run: for a program beyond what it is asked for.
    """

    connect_s: float = 10.0
    answer_s: float = 60.0
    run_s: float = 300.0


@dataclass(frozen=True, kw_only=True)
class Greeting:
    """What the Python of a board is and has, by name and version.

    managed: pip refuses to install into it (PEP 668); venv: it can make environments.
    """

    python: str
    version: str
    modules: Mapping[str, str]
    managed: bool
    venv: bool


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """Where the far end keeps what it was given."""

    store: str


@dataclass(frozen=True, kw_only=True)
class _Had:
    """How much of each file is there, and how much room."""

    have: Mapping[str, _Bytes]
    free_bytes: _Bytes


@dataclass(frozen=True, kw_only=True)
class _Sealed:
    """Whether what is there is what was sent."""

    sound: bool


@dataclass(frozen=True, kw_only=True)
class _Staged:
    """Where files were laid out."""

    folder: str


@dataclass(frozen=True, kw_only=True)
class _Ran:
    """How a program ended."""

    status: int
    stderr: str
    bytes: _Bytes


class Visit:
    """What may be done on a board while the connection lasts."""

    def __init__(self, wire: Wire, board: Board, patience: Patience) -> None:
        """Work over `wire`; `doing` and `began` are for a sentence, should it end."""
        self._wire, self._patience, self._name = wire, patience, board.name
        self.doing, self.began = "connecting", False

    def greet(self) -> Greeting:
        """Meet the far end; a second visit at the same time is turned away."""
        record = self._wire.greeting()
        self.began = True
        found = record_as(Greeting, record, source=self._name, others="ignored")
        record_as(_Opened, self._wire.opened(), source=self._name, others="ignored")
        return found

    def copy(self, pieces: Sequence[Piece], tell: Callable[[str], None]) -> None:
        """Send what is not there; what was begun by a visit before goes on."""
        self.doing = "looking at what is there"
        request = {
            "do": "have",
            "files": {each.sha256: each.size_bytes for each in pieces},
        }
        had = record_as(_Had, self._ask(request), source=self._name, others="ignored")
        left = {
            each.sha256: (each, had.have.get(each.sha256, 0))
            for each in pieces
            if had.have.get(each.sha256, 0) < each.size_bytes
        }
        wanted = sum(each.size_bytes - at for each, at in left.values())
        if wanted > had.free_bytes:
            raise RefusedError(
                f"has {size(had.free_bytes)} free where {size(wanted)} are to be "
                "copied; make room there"
            )
        for each, at in left.values():
            begun = f", {size(at)} of it there already" if at else ""
            tell(
                f"{self._name}: copying {each.name.partition('/')[2] or each.name}, "
                f"{size(each.size_bytes)}{begun}"
            )
            self.doing = "copying"
            # What was begun before may have been spoiled since; then all of it again.
            if not self._put(each, at) and not self._put(each, 0):
                raise RefusedError(
                    f"holds other bytes than were sent of {each.name}; does its disk "
                    "work, and did the file change meanwhile?"
                )

    def stage(self, library: Piece, pieces: Sequence[Piece]) -> str:
        """Lay out files beside the runtime; give the folder that they are in."""
        self.doing = "laying out files"
        files = {each.name: each.sha256 for each in pieces}
        request = {"do": "stage", "runtime": library.sha256, "files": files}
        answer = self._ask(request)
        return record_as(_Staged, answer, source=self._name, others="ignored").folder

    def run(self, words: Sequence[str], *, limit_s: float) -> CompletedProcess[bytes]:
        """Run a program there, in the runtime's folder, for `limit_s` at most."""
        request = {
            "do": "run",
            "words": list(words),
            "limit_s": limit_s,
            "most_bytes": LARGEST_BYTES,
        }
        answer, stdout = self._wire.wait(
            request, patience_s=limit_s + self._patience.answer_s
        )
        ran = record_as(_Ran, answer, source=self._name, others="ignored")
        stderr = ran.stderr.encode("utf-8", "replace")
        return CompletedProcess([*words], ran.status, stdout, stderr)

    def _put(self, piece: Piece, start: int) -> bool:
        """Send a file from `start` on; whether it arrived."""
        at = start
        for chunk in piece.chunks(start, _CHUNK_BYTES):
            request = {
                "do": "put",
                "sha256": piece.sha256,
                "offset": at,
                "bytes": len(chunk),
            }
            self._ask(request, chunk)
            at += len(chunk)
        answer = self._ask({"do": "seal", "sha256": piece.sha256})
        return record_as(_Sealed, answer, source=self._name, others="ignored").sound

    def _ask(self, request: Mapping[str, object], content: bytes = b"") -> object:
        """Ask for what is quick."""
        return self._wire.ask(request, content, patience_s=self._patience.answer_s)


@contextmanager
def visiting(
    board: Board, words: Sequence[str], patience: Patience
) -> Iterator[tuple[Visit, Greeting]]:
    """Be on a board within the block; `words` are the command line of ssh.

    Whatever goes wrong with the connection is a DeviceError; with the block ends
    everything that was started there.
    """
    try:
        wire = Wire(
            words, board.python, patience_s=patience.connect_s + patience.answer_s
        )
    except OSError as error:
        raise MissingDependencyError(
            f"{board.name}: {words[0]} cannot be run here: {error.strerror}; install "
            "OpenSSH's client (Debian: `sudo apt install openssh-client`)"
        ) from error
    visit = Visit(wire, board, patience)
    try:
        yield visit, visit.greet()
    except LostError as lost:
        sentence = why_lost(board, lost, doing=visit.doing, began=visit.began)
        raise DeviceError(sentence) from lost
    except RefusedError as refused:
        told = printable(str(refused))[:_LONGEST]
        raise DeviceError(f"{board.name}: {told}") from refused
    finally:
        wire.close()
