"""What an installation can do, and what it would take to do the rest."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from subprocess import SubprocessError
from typing import Final

from compress.extras import EXTRAS, Library
from compress.programs import Seen, install_line
from runtime.child import python_module
from runtime.errors import Exit
from runtime.machine import Machine, this_machine
from runtime.printable import folded
from runtime.requirements import pip_line

# For importing every runtime, from a cold disk on a busy machine.
_PATIENCE_S: Final = 300.0
_NOT_ASKED: Final = (
    "Runtimes: none answered, because importing one crashed or took longer than "
    f"{_PATIENCE_S:.0f} s; python -m runtime.backends shows which."
)

Lookup = Callable[[str], str | None]


@dataclass(frozen=True, kw_only=True)
class Found:
    """One optional library; `version` is None if it is missing."""

    extra: str
    library: Library
    version: str | None
    note: str = ""

    def cells(self) -> tuple[str, str, str, str]:
        """A row of the table."""
        return (
            f"[{self.extra}]",
            self.library.distribution,
            self.version or "missing",
            self.note or self.library.enables,
        )


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What executes model files; either its version or the reason why it cannot."""

    name: str
    formats: tuple[str, ...]
    enables: str
    version: str | None
    reason: str | None

    def as_text(self) -> str:
        """One sentence."""
        if self.version is None:
            return f"{self.reason}."
        return f"--runtime {self.name}: {self.version}; {self.enables}."


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The answer of `doctor`; something missing is no failure.

    runtimes: None if they could not be asked.
    """

    edgepress: str | None
    machine: Machine
    found: tuple[Found, ...]
    runtimes: tuple[Runtime, ...] | None = ()
    programs: tuple[Seen, ...] = ()
    exit_code: int = Exit.FIT

    @property
    def missing(self) -> tuple[str, ...]:
        """Extras that lack a library, in the table's order."""
        return tuple(
            dict.fromkeys(each.extra for each in self.found if each.version is None)
        )

    def as_json(self) -> str:
        """Everything the text says, as one document."""
        record = {
            "edgepress": self.edgepress,
            "machine": self.machine.as_record(),
            "libraries": [
                {
                    "extra": each.extra,
                    "name": each.library.distribution,
                    "version": each.version,
                    "note": each.note,
                    "enables": each.library.enables,
                }
                for each in self.found
            ],
            "runtimes": [asdict(each) for each in self.runtimes or ()],
            "programs": [each.as_record() for each in self.programs],
            "missing_extras": list(self.missing),
            "install": {extra: pip_line(extra) for extra in self.missing},
        }
        return json.dumps(record, indent=2, sort_keys=True)

    def as_text(self) -> str:
        """A table, then what to run for what is missing, then the machine."""
        lines = [f"edgepress {self.edgepress or '(checkout, not installed)'}", ""]
        rows = [each.cells() for each in (*self.found, *self.programs)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (c.ljust(w) for c, w in zip(row, widths, strict=True))
            lines.append("  ".join(cells).rstrip())
        lines.append("")
        features = ", ".join(self.machine.features) or "unknown"
        facts = (f"Machine: {self.machine.as_text()}.", f"CPU features: {features}.")
        for sentence in (*self._advice(), *self._runtimes(), *facts):
            lines += folded(sentence)
        return "\n".join(lines)

    def _runtimes(self) -> list[str]:
        """A sentence a runtime; what has a row as a program is not told again."""
        if self.runtimes is None:
            return [_NOT_ASKED]
        rows = {each.program.name for each in self.programs}
        return [each.as_text() for each in self.runtimes if each.name not in rows]

    def _advice(self) -> list[str]:
        """What is missing, by what it enables, with the line that mends it."""
        found = []
        for extra in self.missing:
            gains = "; ".join(
                each.library.enables
                for each in self.found
                if each.extra == extra and each.version is None
            )
            found.append(f"Missing: {gains}. Get it: {pip_line(extra)}")
        gone = [each.program for each in self.programs if each.missing]
        for gain in dict.fromkeys(each.enables for each in gone):
            packages = [each.packages for each in gone if each.enables == gain]
            found.append(f"Missing: {gain}. Get it: {install_line(*packages)}")
        broken = [f"{each.reason}." for each in self.programs if each.reason]
        return [*(found or ["Nothing is missing."]), *broken]


def installed_version(distribution: str) -> str | None:
    """The version that the installed package's metadata states."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def diagnose(
    lookup: Lookup = installed_version,
    runtimes: tuple[Runtime, ...] | None = (),
    programs: tuple[Seen, ...] = (),
) -> Diagnosis:
    """Look everything up; `lookup` gives the version of a distribution."""
    return Diagnosis(
        edgepress=lookup("edgepress"),
        machine=this_machine(),
        found=tuple(
            _found(extra, library, lookup)
            for extra, libraries in EXTRAS.items()
            for library in libraries
        ),
        runtimes=runtimes,
        programs=programs,
    )


def runtimes_here() -> tuple[Runtime, ...] | None:
    """Every runtime tried out, in a process that may break with it: then None."""
    try:
        done = python_module("runtime.backends", patience_s=_PATIENCE_S)
        found = json.loads(done.stdout)
    except (OSError, SubprocessError, ValueError):
        return None
    return tuple(
        Runtime(**{**each, "formats": tuple(each["formats"])}) for each in found
    )


def _found(extra: str, library: Library, lookup: Lookup) -> Found:
    """Whether a library, or one that does the same, is there and complete."""
    state = lookup(library.distribution)
    if state is None and library.instead is not None:
        other = lookup(library.instead)
        if other is not None:
            note = f"from {library.instead}"
            return Found(extra=extra, library=library, version=other, note=note)
    # Metadata may outlive the package that it describes.
    if state is not None and library.module and find_spec(library.module) is None:
        note = f"{state} is registered, but cannot load"
        return Found(extra=extra, library=library, version=None, note=note)
    return Found(extra=extra, library=library, version=state)
