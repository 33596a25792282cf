"""A device on which model files are measured, wherever it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from compress.context.answer import Answer
from runtime.machine import Machine
from runtime.plan import Plan
from runtime.profiled import Profile
from runtime.profiling import Voice


class Device(Protocol):
    """Measures files: this machine, a container, a board far away."""

    @property
    def name(self) -> str:
        """As the user calls it: `cpu`, `docker:arm64`, `pi5`."""
        ...

    def machine(self) -> Machine:
        """Look around there; DeviceError if it cannot be reached."""
        ...

    def measure(self, files: Sequence[Path], plan: Plan, console: Voice) -> Profile:
        """Measure `files` there as `plan` asks; they lie on this machine.

        A DeviceError if it cannot be reached, or what came back is no measurement;
        otherwise what `runtime.profiling.profile_files` raises, of the same kind.
        """
        ...

    def check(self, files: Sequence[Path], plan: Plan, console: Voice) -> Answer:
        """Run the self-test that each of `files` carries there; see `measure`.

        A file that does not compute what was trained is exit code 4 of the answer.
        """
        ...
