"""This machine as a device."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runtime.checking import Checks, check_files
from runtime.errors import DeviceError
from runtime.machine import Machine, this_machine
from runtime.plan import Plan
from runtime.profiled import Profile
from runtime.profiling import Voice, profile_files


class LocalDevice:
    """The machine that this program runs on."""

    name: Final = "cpu"

    def machine(self) -> Machine:
        """Look around."""
        return this_machine()

    def measure(self, files: Sequence[Path], plan: Plan, console: Voice) -> Profile:
        """Measure `files` in this process."""
        return profile_files(files, plan, console)

    def check(self, files: Sequence[Path], plan: Plan, console: Voice) -> Checks:
        """Run the self-tests of `files` in this process."""
        del console
        return check_files(files, threads=plan.threads, runtime=plan.runtime)


def open_device(rest: str) -> LocalDevice:
    """This machine; there is only one, so `rest` is empty, or it is a DeviceError."""
    if rest:
        raise DeviceError(f"--device cpu:{rest}: not known; this machine is cpu")
    return LocalDevice()
