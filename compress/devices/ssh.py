"""Boards over SSH: the system's `ssh`, a key, a known host, and Python there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

from compress.devices.inventory import Board
from compress.devices.parcel import pieces_of, runtime_piece
from compress.devices.remedies import missing_there
from compress.devices.remote import (
    ChecksThere,
    as_ours,
    remote_check,
    remote_machine,
    remote_profile,
    self_tested,
    time_limit_s,
)
from compress.devices.visit import Greeting, Patience, Visit, visiting
from runtime.artifact import Artifact
from runtime.errors import MissingDependencyError
from runtime.machine import Machine
from runtime.plan import Plan
from runtime.profiled import Profile
from runtime.profiling import Voice

# They come before anything of a configuration file, and so count: no question is ever
# asked, no unknown host taken, nothing forwarded, no connection shared or left open.
_STRICT: Final = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "ConnectionAttempts=1",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ControlMaster=no",
    "ControlPath=none",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "EscapeChar=none",
    "LogLevel=ERROR",
)


class SshDevice:
    """A board of the inventory."""

    def __init__(self, board: Board, patience: Patience | None = None) -> None:
        """A board, and how long it may take."""
        self._board, self._patience = board, patience or Patience()

    @property
    def name(self) -> str:
        """As the inventory calls it."""
        return self._board.name

    def machine(self) -> Machine:
        """Look around there."""
        return self.looked()[1]

    def looked(self) -> tuple[Greeting, Machine]:
        """What its Python has, and what it is."""
        with self._visit() as (visit, greeting):
            library = runtime_piece()
            visit.copy([library], _unheard)
            visit.stage(library, [])
            there = _There(visit, greeting, (), self._patience.answer_s)
            visit.doing = "looking around"
            machine = remote_machine(there.start, there.python, device=self.name)
        return greeting, machine

    def measure(self, files: Sequence[Path], plan: Plan, console: Voice) -> Profile:
        """Copy, test, measure, fetch; all are read here before anything is copied.

        A file whose self-test fails there is a ParityError, and nothing is measured.
        """
        artifacts = [Artifact.read(path) for path in files]
        with self._laid_out(artifacts, plan, console) as there:
            there.visit.doing = "running self-tests"
            self_tested(
                there.start,
                there.python,
                artifacts,
                there.files,
                plan,
                device=self.name,
                console=console,
            )
            console.tell(f"{self.name}: measuring")
            there.visit.doing = "measuring"
            profile = remote_profile(
                there.start, there.python, there.files, plan, device=self.name
            )
        return as_ours(profile, artifacts, device=self.name)

    def check(self, files: Sequence[Path], plan: Plan, console: Voice) -> ChecksThere:
        """Copy, and run the self-tests there."""
        artifacts = [Artifact.read(path) for path in files]
        with self._laid_out(artifacts, plan, console) as there:
            there.visit.doing = "running self-tests"
            return remote_check(
                there.start, there.python, there.files, plan, device=self.name
            )

    @contextmanager
    def _laid_out(
        self, artifacts: Sequence[Artifact], plan: Plan, console: Voice
    ) -> Iterator["_There"]:
        """Have the runtime and the files there within the block."""
        library, pieces = runtime_piece(), pieces_of(artifacts)
        limit_s = self._patience.run_s + time_limit_s(plan, len(artifacts))
        with self._visit() as (visit, greeting):
            visit.copy([library, *pieces], console.tell)
            folder = visit.stage(library, pieces)
            files = tuple(
                f"{folder}/{number}/{each.path.name}"
                for number, each in enumerate(artifacts)
            )
            try:
                yield _There(visit, greeting, files, limit_s)
            except MissingDependencyError as error:
                raise missing_there(self._board, greeting, error) from error

    @contextmanager
    def _visit(self) -> Iterator[tuple[Visit, Greeting]]:
        """Be there."""
        words = ssh_words(self._board, connect_s=self._patience.connect_s)
        with visiting(self._board, words, self._patience) as found:
            yield found


@dataclass(frozen=True)
class _There:
    """What lies on a board, and how programs are started there."""

    visit: Visit
    greeting: Greeting
    files: tuple[str, ...]
    limit_s: float

    @property
    def python(self) -> list[str]:
        """The words that start Python there."""
        return [self.greeting.python]

    def start(self, words: Sequence[str]) -> CompletedProcess[bytes]:
        """Run a program there."""
        return self.visit.run(words, limit_s=self.limit_s)


def ssh_words(board: Board, *, connect_s: float) -> list[str]:
    """The command line of ssh, but for what it is to run there."""
    to = board.address
    words = ["ssh", "-T", "-a", "-x"]
    if board.ssh_config is not None:
        words += ["-F", board.ssh_config]
    for setting in (*_STRICT, f"ConnectTimeout={max(1, round(connect_s))}"):
        words += ["-o", setting]
    if to.port is not None:
        words += ["-p", str(to.port)]
    if to.user is not None:
        words += ["-l", to.user]
    return [*words, "--", to.host]


def _unheard(sentence: str) -> None:
    """Say nothing."""
    del sentence
