"""CPU affinity: measurements pinned to named cores, as on boards with big and small."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from runtime.errors import DeviceError, RecipeError


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Run the block, and every thread and process started in it, on `cores` only.

    Without any nothing changes. A core that this process may not use is a RecipeError,
    a system that pins nothing a DeviceError.
    """
    if not cores:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise DeviceError(
            "--cores: this system cannot pin a process to cores (Linux can); leave "
            "--cores out"
        )
    before = os.sched_getaffinity(0)
    missing = sorted(set(cores) - before)
    if missing:
        raise RecipeError(
            f"--cores {_list(cores)}: {_list(missing)} not to be had; this process may "
            f"use {_list(sorted(before))}"
        )
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        raise DeviceError(
            f"--cores {_list(cores)}: refused by the system: {error.strerror}; leave "
            "--cores out"
        ) from error
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _list(cores: Sequence[int]) -> str:
    """As they are written on the command line."""
    return ",".join(map(str, cores))
