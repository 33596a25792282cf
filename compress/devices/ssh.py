"""Boards over SSH: the system's `ssh`, a key, a known host, and Python there."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

from compress.devices.inventory import Board
from compress.devices.parcel import pieces_of, runtime_piece
from compress.devices.remedies import missing_there
from compress.devices.remote import (
    as_ours,
    remote_machine,
    remote_profile,
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
    "ServerAliveInterval=5",
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
            visit.doing = "looking around"

            def start(words: Sequence[str]) -> CompletedProcess[bytes]:
                return visit.run(words, limit_s=self._patience.answer_s)

            machine = remote_machine(start, [greeting.python], device=self.name)
        return greeting, machine

    def measure(self, files: Sequence[Path], plan: Plan, screen: Voice) -> Profile:
        """Copy, test, measure, fetch; all are read here before anything is copied."""
        artifacts = [Artifact.read(path) for path in files]
        library, pieces = runtime_piece(), pieces_of(artifacts)
        limit_s = self._patience.run_s + time_limit_s(plan, len(files))
        with self._visit() as (visit, greeting):
            visit.copy([library, *pieces], screen.tell)
            folder = visit.stage(library, pieces)

            def start(words: Sequence[str]) -> CompletedProcess[bytes]:
                return visit.run(words, limit_s=limit_s)

            there = [
                f"{folder}/{number}/{each.path.name}"
                for number, each in enumerate(artifacts)
            ]
            screen.tell(f"{self.name}: measuring")
            visit.doing = "measuring"
            try:
                profile = remote_profile(
                    start, [greeting.python], there, plan, device=self.name
                )
            except MissingDependencyError as error:
                raise missing_there(self._board, greeting, error) from error
        return as_ours(profile, artifacts, device=self.name)

    @contextmanager
    def _visit(self) -> Iterator[tuple[Visit, Greeting]]:
        """Be there."""
        words = ssh_words(self._board, connect_s=self._patience.connect_s)
        with visiting(self._board, words, self._patience) as found:
            yield found


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
