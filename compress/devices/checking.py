"""Whether boards answer, what each is, and what it lacks to measure model files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from compress.context.console import Console
from compress.devices.inventory import Board
from compress.devices.remedies import install_line, lacking
from compress.devices.ssh import SshDevice
from compress.devices.together import together, worst
from compress.devices.visit import Greeting
from compress.report.columns import width, wrapped
from runtime.errors import EdgepressError, Exit
from runtime.machine import Machine
from runtime.printable import printable

_LIBRARIES: Final = "libraries: "


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was found of a board; `error` is why it cannot measure, as a sentence."""

    board: Board
    greeting: Greeting | None = None
    machine: Machine | None = None
    error: str | None = None
    exit_code: int = Exit.FIT

    def as_record(self) -> dict[str, object]:
        """Plain data, for scripts."""
        there = self.greeting
        return {
            "name": self.board.name,
            **self.board.as_record(),
            "python_version": None if there is None else there.version,
            "modules": None if there is None else dict(there.modules),
            "machine": None if self.machine is None else self.machine.as_record(),
            "error": self.error,
            "exit_code": int(self.exit_code),
        }

    def as_text(self) -> list[str]:
        """Its name and state, the machine, the libraries, what is missing."""
        state = "ready" if self.error is None else "not ready"
        found = [f"{self.board.name}: {state}"]
        if self.machine is not None and self.greeting is not None:
            modules = [f"{k} {v}" for k, v in self.greeting.modules.items()]
            found.append(f"  {self.machine.as_text()}")
            found.append(f"  {_LIBRARIES}{', '.join(modules) or 'none'}")
        if self.error is not None:
            told = self.error.removeprefix(f"{self.board.name}: ")
            found.append(f"  {told}")
        return found


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The answer of `compress devices check`."""

    looks: tuple[Look, ...]

    @property
    def exit_code(self) -> int:
        """The worst of all."""
        return worst([look.exit_code for look in self.looks])

    def as_json(self) -> str:
        """{devices[{name, url, machine, modules, error, exit_code}]}."""
        record = {"devices": [look.as_record() for look in self.looks]}
        return json.dumps(record, indent=2)

    def as_text(self) -> str:
        """Board by board."""
        lines: list[str] = []
        for look in self.looks:
            for line in look.as_text():
                # A command that is to be copied stays in one piece.
                whole = "; run: " in line
                lines += [printable(line)] if whole else _folded(printable(line))
        return "\n".join(lines) or "no devices yet"


def checked(boards: Sequence[Board], console: Console) -> Checked:
    """Reach all `boards`, several at a time."""

    def look(name: str) -> Look:
        console.tell(f"{name}: reaching {known[name].address}")
        return _looked(known[name])

    known = {board.name: board for board in boards}
    found = dict(together(look, list(known)))
    return Checked(looks=tuple(found[name] for name in known))


def _looked(board: Board) -> Look:
    """Reach one; what goes wrong is what was found."""
    try:
        greeting, machine = SshDevice(board).looked()
    except EdgepressError as error:
        return Look(board=board, error=str(error), exit_code=error.exit_code)
    missing = lacking(greeting)
    if not missing:
        return Look(board=board, greeting=greeting, machine=machine)
    line = install_line(board, greeting, missing)
    return Look(
        board=board,
        greeting=greeting,
        machine=machine,
        error=f"{board.name}: needs {' and '.join(missing)}, not installed there; "
        f"run: {line}",
        exit_code=Exit.MISSING,
    )


def _folded(line: str) -> list[str]:
    """A line in lines as wide as the terminal, its indent kept."""
    indent = line[: len(line) - len(line.lstrip())]
    first, *rest = wrapped(line.lstrip(), width() - len(indent) - 2)
    return [indent + first, *(f"{indent}  {each}" for each in rest)]
