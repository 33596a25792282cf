"""Where a run's files are measured: on this machine, or on the device it names."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from compress.devices.names import COMPUTING
from compress.devices.table import device
from runtime.errors import DeviceError, RecipeError
from runtime.machine import this_machine
from runtime.plan import Plan
from runtime.target import LOCAL, target
from runtime.timing import undisturbed_ms

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from compress.recipe import Export
    from runtime.machine import Machine
    from runtime.profiled import Profile
    from runtime.profiling import Voice

_ENGINE: Final = "trtexec"  # whose times those of other runtimes are not


def parted(name: str) -> tuple[str, str | None]:
    """What `--device` names: what computes, and what measures if that is not here.

    `cuda`, `pi5` or both, `cuda,pi5`; two of one sort are a RecipeError.
    """
    names = [each.strip() for each in name.split(",")]
    computing = [each for each in names if each.partition(":")[0] in COMPUTING]
    measuring = [each for each in names if each not in computing]
    if len(computing) > 1 or len(measuring) > 1:
        raise RecipeError(
            f"--device {name}: name at most one that computes and one that measures, "
            "such as cuda,pi5"
        )
    return (*computing, "cpu")[0], (*measuring, None)[0]


def check_measuring(export: Export, screen: Voice) -> None:
    """Look at the device that a recipe names, before any work; say what it is.

    A DeviceError if it cannot be reached, or emulates another CPU.
    """
    if export.device is None:
        return
    machine = machine_for(export)
    if machine.kind != "native":
        raise _emulated(export.device, machine)
    screen.tell(f"device: {export.device}: {machine.as_text()}")
    for name in export.target:
        if (why := target(name).lacking(machine)) is not None:
            screen.tell(f"device: {export.device} is no {name}: {why}")


def machine_for(export: Export) -> Machine:
    """The machine that files are measured on, looked at once."""
    return this_machine() if export.device is None else machine_of(export.device)


@functools.cache
def machine_of(name: str) -> Machine:
    """A device's machine, asked once in a run."""
    return device(name).machine()


def threads_for(export: Export) -> int:
    """Threads of an inference: as its target runs it, where a device measures for it.

    What this machine measures compares with everything else that it measured.
    """
    if export.device is None or len(export.target) != 1:
        return 1
    return target(export.target[0]).threads


def runtime_of(export: Export) -> str | None:
    """What executes the files on their targets; None where that is not one for all."""
    names = {target(name).runtime for name in export.target or (LOCAL,)}
    return names.pop() if len(names) == 1 else None


def runtime_for(export: Export) -> str | None:
    """What a device runs files by, where that is not the runtime of their format."""
    engine = export.device is not None and runtime_of(export) == _ENGINE
    return _ENGINE if engine else None


def measured(  # noqa: PLR0913  # what is measured, where and how
    name: str,
    files: Sequence[Path],
    *,
    threads: int,
    seed: int,
    screen: Voice,
    runs: int = Plan.runs,
    seconds: float | None = None,
    runtime: str | None = None,
) -> Profile:
    """Measure `files` on the device `name`, in turn if there are several.

    trtexec times them one after the other. See `Device.measure`; an emulated device is
    a DeviceError: nothing can be chosen by its times.
    """
    plan = Plan(
        runs=runs,
        seconds=seconds,
        compare=len(files) > 1 and runtime != _ENGINE,
        threads=threads,
        seed=seed,
        runtime=runtime,
        force=True,  # a doubt is for the report to tell, as with what is measured here
    )
    profile = device(name).measure(files, plan, screen)
    for each in profile.measurements:
        if each.kind != "native":
            raise _emulated(name, each.machine)
    return profile


def _emulated(device: str, machine: Machine) -> DeviceError:
    """Nothing can be chosen, and no limit judged, by times of an emulator."""
    return DeviceError(
        f"--device {device}: {machine.name} is emulated, and its times are those of no "
        "device; name a real one"
    )


def raced_ms(  # noqa: PLR0913  # as above
    name: str,
    files: Sequence[Path],
    *,
    threads: int,
    seed: int,
    screen: Voice,
    runs: int,
    runtime: str | None = None,
) -> list[float]:
    """Undisturbed latencies of `files` in ms, taken in turn on a device."""
    profile = measured(
        name,
        files,
        threads=threads,
        seed=seed,
        screen=screen,
        runs=runs,
        runtime=runtime,
    )
    return [undisturbed_ms(row) for row in samples_of(profile)]


def samples_of(profile: Profile) -> npt.NDArray[np.int64]:
    """Samples [files, rounds] in ns, as many of each file as there are of all.

    They are there to choose by, so a measurement that is invalid is a DeviceError.
    """
    import numpy as np

    for each in profile.measurements:
        for fault in each.faults():
            raise DeviceError(
                f"{each.machine.name}: {fault}; nothing is chosen by such times: let "
                "it rest, then run the same command again"
            )
    rounds = min(len(each.samples_ns) for each in profile.measurements)
    return np.array([each.samples_ns[:rounds] for each in profile.measurements])
