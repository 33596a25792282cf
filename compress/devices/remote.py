"""What devices elsewhere share: our runtime started there, and its answer read here.

Each of them has a way to start `python -m runtime` and to hand back what it printed;
the words, the exit codes and the JSON are the same for all.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from subprocess import CompletedProcess
from typing import Final

from compress.devices.complaint import complaint
from runtime import errors
from runtime.artifact import Artifact
from runtime.backends.table import backend
from runtime.errors import (
    DeviceError,
    EdgepressError,
    Exit,
    InputRejectedError,
    ParityError,
)
from runtime.machine import Machine
from runtime.plain_json import json_record
from runtime.plan import Plan
from runtime.profiled import Profile
from runtime.profiling import Voice, named
from runtime.reading import read_machine, read_profile
from runtime.typed import record_as, shown

# Starts a program on the device: words in, what it printed out; bounded in time.
Start = Callable[[Sequence[str]], CompletedProcess[bytes]]

_KINDS: Final[dict[int, type[EdgepressError]]] = {
    kind.exit_code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, EdgepressError)
    if kind.exit_code is not Exit.BUG
}


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
    # An invalid measurement is printed all the same; why it is stands in it.
    printed = done.returncode == Exit.DEVICE and done.stdout
    text = done.stdout if printed else stdout_of(done, device=device)
    return read_profile(text, source=device)


@dataclass(frozen=True, kw_only=True)
class _Check:
    """What is read of a file's self-test."""

    passed: bool
    sentence: str


@dataclass(frozen=True, kw_only=True)
class ChecksThere:
    """The answer of `--check` elsewhere: the record as it came, a sentence a file."""

    record: Mapping[str, object]
    sentences: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """Parity failed if any file did."""
        return Exit.PARITY if self.failed else Exit.FIT

    def as_json(self) -> str:
        """As the runtime there wrote it."""
        return json.dumps(self.record, indent=2, sort_keys=True)

    def as_text(self) -> str:
        """Line by line."""
        return "\n".join(f"{each}." for each in self.sentences)


def remote_check(
    start: Start,
    python: Sequence[str],
    files: Sequence[str],
    plan: Plan,
    *,
    device: str,
) -> ChecksThere:
    """Run the self-tests of `files`, paths on the device; errors as `remote_profile`.

    A failed test is no error: it is what the answer says.
    """
    words = ["--check", f"--threads={plan.threads}"]
    if plan.runtime is not None:
        words.append(f"--runtime={plan.runtime}")
    done = start([*python, "-m", "runtime", "--json", "-q", *words, "--", *files])
    ended = done.returncode == Exit.PARITY and done.stdout
    answer = done.stdout if ended else stdout_of(done, device=device)
    record = json_record(answer, source=device)
    checks = record.get("checks")
    if not isinstance(checks, list) or len(checks) != len(files):
        raise InputRejectedError(
            f"{device}: checks is {shown(checks)}; allowed: a list of {len(files)}"
        )
    found = [
        record_as(_Check, each, source=f"{device}: checks", others="ignored")
        for each in checks
    ]
    return ChecksThere(
        record=record,
        sentences=tuple(f"{device}: {each.sentence}" for each in found),
        failed=tuple(f"{device}: {each.sentence}" for each in found if not each.passed),
    )


def _testable(
    artifacts: Sequence[Artifact], files: Sequence[str], plan: Plan
) -> list[str]:
    """Those of `files`, paths on the device, whose self-test can be run there.

    A runtime that only times, as trtexec does, gives no answers to test.
    """
    if plan.runtime is not None and backend(plan.runtime).times_itself:
        return []
    return [
        path
        for path, artifact in zip(files, artifacts, strict=True)
        if artifact.selftest is not None and artifact.preprocess is not None
    ]


def self_tested(  # noqa: PLR0913  # what is started, on what, and who listens
    start: Start,
    python: Sequence[str],
    artifacts: Sequence[Artifact],
    files: Sequence[str],
    plan: Plan,
    *,
    device: str,
    console: Voice,
) -> None:
    """Run the self-tests of `files` before they are measured; ParityError if one fails.

    They are `artifacts`, in that order.
    """
    tested = _testable(artifacts, files, plan)
    if not tested:
        return
    console.tell(f"{device}: running self-tests")
    found = remote_check(start, python, tested, plan, device=device)
    if found.failed:
        raise ParityError("; ".join(found.failed))
    for each in found.sentences:
        console.tell(each)


def time_limit_s(plan: Plan, files: int) -> float:
    """Seconds in which `plan` is done on any board that is not hanging.

    The heaviest networks that people run on a Raspberry Pi 4 take 5.5 s an inference.
    """
    each_s = plan.runs * 10.0 if plan.seconds is None else plan.seconds * 2.0
    if plan.long:
        each_s = plan.long_seconds * 2.0
    # Rest and work of an energy measurement; peaks and a file's costs.
    each_s += 60.0 * (plan.energy is not None) + 60.0 * plan.roofline
    return files * each_s * (1 + len(plan.sweep))


def as_ours(profile: Profile, artifacts: Sequence[Artifact], *, device: str) -> Profile:
    """What was measured there under the names that files have here.

    A sweep of threads measures all of them again. A DeviceError if it was measured on
    other files than were sent.
    """
    sent = [each.sha256 for each in artifacts]
    came = [each.artifact_sha256 for each in profile.measurements]
    if not came or came != sent * (len(came) // len(sent)):
        raise DeviceError(
            f"{device}: what came back is about other files than were sent"
        )
    first = profile.measurements[: len(sent)]
    names = dict(zip((each.file for each in first), named(artifacts), strict=True))
    return replace(
        profile,
        measurements=tuple(
            replace(each, file=names.get(each.file, each.file))
            for each in profile.measurements
        ),
        comparisons=tuple(
            replace(each, a=names.get(each.a, each.a), b=names.get(each.b, each.b))
            for each in profile.comparisons
        ),
    )


def stdout_of(done: CompletedProcess[bytes], *, device: str) -> bytes:
    """What a program printed that ended well; otherwise its last sentence, raised.

    A measurement that is invalid is an answer, too, and says so itself.
    """
    if done.returncode == 0 or (done.returncode == Exit.DEVICE and done.stdout.strip()):
        return done.stdout
    last = complaint(done.stderr)
    sentence = last.removeprefix("runtime: ")
    kind = _KINDS.get(done.returncode)
    if kind is None or not last.startswith("runtime: "):
        raise DeviceError(
            f"{device}: the program there ended with {done.returncode}: {last}"
        )
    raise kind(f"{device}: {sentence}")
