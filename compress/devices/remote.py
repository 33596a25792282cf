"""What devices elsewhere share: our runtime started there, and its answer read here.

Each of them has a way to start `python -m runtime` and to hand back what it printed;
the words, the exit codes and the JSON are the same for all.
"""

from collections.abc import Callable, Sequence
from subprocess import CompletedProcess
from typing import Final

from runtime import errors
from runtime.errors import DeviceError, EdgepressError, Exit
from runtime.machine import Machine
from runtime.plain_json import json_record
from runtime.plan import Plan
from runtime.printable import printable
from runtime.profiled import Profile
from runtime.reading import read_machine, read_profile

# Starts a program on the device: words in, what it printed out; bounded in time.
Start = Callable[[Sequence[str]], CompletedProcess[bytes]]

_KINDS: Final[dict[int, type[EdgepressError]]] = {
    kind.exit_code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, EdgepressError)
    if kind.exit_code is not Exit.BUG
}
_LONGEST: Final = 400  # of a sentence from elsewhere


def remote_machine(start: Start, python: Sequence[str], *, device: str) -> Machine:
    """The machine that `python`, words that start an interpreter, runs on."""
    done = start([*python, "-m", "runtime.machine"])
    answer = stdout_of(done, device=device)
    return read_machine(json_record(answer, source=device), source=device)


def remote_profile(
    start: Start,
    python: Sequence[str],
    files: Sequence[str],
    plan: Plan,
    *,
    device: str,
) -> Profile:
    """Measure `files`, paths on the device, by the runtime that lies there.

    Raises what went wrong there as the same kind of error here, or a DeviceError.
    """
    words = [*python, "-m", "runtime", "--json", "-q", *plan.words(), "--", *files]
    done = start(words)
    return read_profile(stdout_of(done, device=device), source=device)


def stdout_of(done: CompletedProcess[bytes], *, device: str) -> bytes:
    """What a program printed that ended well; otherwise its last sentence, raised."""
    if done.returncode == 0:
        return done.stdout
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    last = printable(lines[-1])[:_LONGEST] if lines else "it said nothing"
    sentence = last.removeprefix("runtime: ")
    kind = _KINDS.get(done.returncode)
    if kind is None or not last.startswith("runtime: "):
        raise DeviceError(
            f"{device}: the program there ended with {done.returncode}: {last}"
        )
    raise kind(f"{device}: {sentence}")
