"""A file from elsewhere is opened first in a process that may fail, crash or hang.

Interpreters are C++ that trusts its input: a file can crash them, ask for any amount
of memory or never end. So it is loaded and run once where that harms nobody, within
limits of memory and time. That keeps accidents and bombs away; it is no prison for a
file that takes an interpreter over.
"""

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.artifact import Artifact
from runtime.child import python_module
from runtime.errors import (
    DeviceError,
    EdgepressError,
    InputRejectedError,
)
from runtime.files import (
    cache_folder,
    digest_of,
    own_cache_folder,
    sha256_of,
    write_json,
)
from runtime.machine import this_machine
from runtime.quiet import quiet
from runtime.session import Session, load_interpreter, open_session

_GB: Final = 10**9
# How a trial ends: well; by an error that whoever opens the file will meet, too, and
# explain; for want of memory. Anything else is no answer of ours.
PASSED, FAILED, NO_MEMORY = 0, 10, 11
# What interpreters say when there is no memory left.
_ALLOCATION: Final = ("alloc", "out of memory")
# Between two limits, processor time and time by the clock: the machine may be busy.
_BUSY: Final = 8
# What a file may write while it is tried: the interpreter's complaints.
_WRITES_BYTES: Final = 1 << 24
_IMAGES_AXES: Final = 4


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a trial may take beyond what the interpreter takes by itself."""

    memory_bytes: int
    cpu_s: int

    @classmethod
    def of(cls, size_bytes: int) -> "Limits":
        """Limits that grow with the file.

        VGG-16, whose file is 0.55 GB, takes 1.4 GB and 0.8 s of a fast processor.
        """
        physical = this_machine().memory_bytes
        wanted = 2 * _GB + 4 * size_bytes
        return cls(
            memory_bytes=min(wanted, physical or wanted),
            cpu_s=20 + size_bytes // 5_000_000,
        )


def try_out(artifact: Artifact) -> None:
    """Load and run a model file once in a process of its own; refuse what it cannot.

    An interpreter that crashes, or takes too much memory or time, is an
    InputRejectedError. What passed is remembered, by its digest, in the user's cache.
    Under an emulator there is no such process, for it would run without the emulator.
    """
    if this_machine().emulator is not None:
        return
    contained(
        "runtime.contained",
        artifact.path,
        sha256=artifact.sha256,
        by=load_interpreter(artifact),
    )


def contained(
    module: str,
    path: Path,
    *,
    by: str,
    sha256: str | None = None,
    limits: Limits | None = None,
) -> None:
    """Let `module`, run as a program, read the file at `path`; refuse what it cannot.

    It gives its exit status by `confined`; `by` is the library that reads, and its
    version, and `sha256` the file's digest if it is known.
    """
    sha256 = sha256 or sha256_of(path)
    passed = _record(digest_of(module, by, sha256)[:32])
    if passed is not None and os.access(passed, os.R_OK):
        return
    limits = limits or Limits.of(path.stat().st_size)
    words = (str(path), str(limits.memory_bytes), str(limits.cpu_s))
    try:
        done = python_module(module, *words, patience_s=limits.cpu_s * _BUSY)
    except subprocess.TimeoutExpired:
        status = -signal.SIGXCPU
    except OSError as error:
        raise DeviceError(
            f"{path}: cannot be tried in a process of its own: {error.strerror}; free "
            "some memory, then run the same command again"
        ) from error
    else:
        status = done.returncode
        if status not in {PASSED, FAILED, NO_MEMORY} and status >= 0:
            told = done.stderr.decode(errors="replace").strip() or f"status {status}"
            raise DeviceError(
                f"{path}: cannot be tried in a process of its own: "
                f"{told.splitlines()[-1]}"
            )
    if status < 0 or status == NO_MEMORY:
        raise InputRejectedError(_refusal(path, by, limits, status))
    if status == PASSED and passed is not None and not _refers_elsewhere(path):
        with suppress(EdgepressError, OSError):  # a cache may well be read-only
            write_json(passed, {"path": path.name, "sha256": sha256, "by": by})


def confined(ready: Callable[[Path], Callable[[], None]]) -> int:
    """Be the program that `contained` runs; gives its exit status.

    `ready` imports what it needs, which no limit holds for, and gives what is to be
    tried; an error of its own is a bug.
    """
    import resource

    path, memory_bytes, cpu_s = sys.argv[1:]
    work = ready(Path(path))
    used = resource.getrusage(resource.RUSAGE_SELF)
    taken = Path("/proc/self/statm")
    held = int(taken.read_text().split()[0]) * mmap.PAGESIZE if taken.exists() else 0
    for kind, most in (
        (resource.RLIMIT_AS, held + int(memory_bytes)),
        (resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + int(cpu_s)),
        (resource.RLIMIT_FSIZE, _WRITES_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # a lower limit is set already, or unknown
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
    try:
        work()
    except MemoryError:
        return NO_MEMORY
    except Exception as error:  # noqa: BLE001  # libraries raise what they like
        return NO_MEMORY if _is_allocation(error) else FAILED
    return PASSED


def _is_allocation(error: BaseException | None) -> bool:
    """Whether memory is what was missing, by what a library said first."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or any(each in text for each in _ALLOCATION):
            return True
        error = error.__cause__
    return False


def _record(name: str) -> Path | None:
    """Where it is remembered that a file passed; None for a user without a home."""
    try:
        place = cache_folder()
        # Nobody else may say of a file that it passed.
        facts = place.stat() if place.exists() else None
        if facts and (facts.st_uid != os.getuid() or facts.st_mode & 0o022):
            place = own_cache_folder()
        return place / "passed" / f"{name}.json"
    except RuntimeError:
        return None


def _refusal(path: Path, by: str, limits: Limits, status: int) -> str:
    """Why a file is not used, as a sentence."""
    if status in {NO_MEMORY, -signal.SIGKILL}:  # the kernel kills when it has none
        what = f"asks for more than {limits.memory_bytes / _GB:.1f} GB of memory"
    elif status == -signal.SIGXCPU:
        what = f"is not done after {limits.cpu_s} s of processor time"
    else:
        what = f"crashes {by} ({signal.Signals(-status).name})"
    return (
        f"{path}: {what}, in a process of its own where it was tried; it is damaged, "
        "made to do harm, or not for this machine: get it again from whoever made it"
    )


def _refers_elsewhere(path: Path) -> bool:
    """Whether a file may have parts in other files, which its digest says nothing of.

    ONNX calls the place of such a part `location` (onnx/onnx.proto, external_data).
    """
    with (
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return content.find(b"location") >= 0


def _once(path: Path) -> Callable[[], None]:
    """Load a model file and run it on random numbers."""
    import numpy as np

    artifact = Artifact.read(path)
    load_interpreter(artifact)

    def load_and_run() -> None:
        with quiet(1, 2), closing(open_session(artifact, threads=1)) as session:
            rng = np.random.default_rng(0)
            shape = _shape(session, artifact)
            session.run(rng.standard_normal(shape, dtype=np.float32))

    return load_and_run


def _shape(session: Session, artifact: Artifact) -> tuple[int, ...]:
    """What the file takes; where it leaves the size open, its preprocessing says it."""
    fed, shape = artifact.preprocess, session.input_shape
    if fed is None or len(shape) != _IMAGES_AXES:
        return shape
    image = (fed.size, fed.size, 3) if fed.layout == "NHWC" else (3, fed.size, fed.size)
    return tuple(
        wanted if size == 1 else size
        for size, wanted in zip(shape, (1, *image), strict=True)
    )


if __name__ == "__main__":
    sys.exit(confined(_once))
