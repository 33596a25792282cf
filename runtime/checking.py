"""The self-test of model files, run: does this machine compute what was trained."""

import json
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from runtime.artifact import Artifact
from runtime.batch import check_scores
from runtime.contained import try_out
from runtime.errors import Exit, InputRejectedError
from runtime.machine import this_machine
from runtime.printable import folded, printable
from runtime.selftest import Scores, SelfTest
from runtime.session import open_session

# What two ways of writing the same float32 number down may differ by.
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One file: how far its scores are from those that the network gave.

    error, tolerance: in the unit of a score; sample: the image with the largest error,
    counted from 1; step: of the INT8 grid, None for a float file; unlike: images whose
    best class is another one than the network's.
    """

    file: str
    sha256: str
    runtime: str
    images: int
    error: float
    tolerance: float
    sample: int
    unlike: int
    step: float | None = None
    reference: Literal["network", "file"] = "network"
    remark: str = ""

    @property
    def passed(self) -> bool:
        """Whether every score is within its tolerance."""
        return self.error <= self.tolerance * (1 + _ROUNDING)

    @property
    def sentence(self) -> str:
        """How far off, on which image."""
        many = f"{self.images} image{'s' * (self.images != 1)}"
        far = f"{self._amount(self.error)} off; allowed: {self._amount(self.tolerance)}"
        what = (
            "was trained" if self.reference == "network" else "it did where it was made"
        )
        if self.error == 0:
            return f"{self.file}: computes what {what}: {many}, to the bit"
        if self.passed:
            return f"{self.file}: computes what {what}: {many}, at most {far}"
        other = f", {self.unlike} of {many} named otherwise" if self.unlike else ""
        return (
            f"{self.file}: does NOT compute what {what}: image {self.sample} of "
            f"{self.images} is {far}{other}{self.remark}"
        )

    def _amount(self, value: float) -> str:
        """A distance of scores, in steps where there are any."""
        if self.step is None:
            return f"{value:.2g}"
        steps = value / self.step
        return f"{steps:.2g} INT8 step{'s' * (steps != 1)}"

    def as_record(self) -> dict[str, object]:
        """Plain data; `error_steps` is None for a float file."""
        return {
            "file": self.file,
            "artifact_sha256": self.sha256,
            "runtime": self.runtime,
            "passed": self.passed,
            "images": self.images,
            "error": self.error,
            "tolerance": self.tolerance,
            "error_steps": None if self.step is None else self.error / self.step,
            "sample": self.sample,
            "reference": self.reference,
            "unlike": self.unlike,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Checks:
    """The answer of `--check`."""

    files: tuple[Checked, ...]

    @property
    def exit_code(self) -> int:
        """Parity failed if any file did."""
        return Exit.FIT if all(each.passed for each in self.files) else Exit.PARITY

    def as_json(self) -> str:
        """{checks[{file, passed, error, tolerance, sentence, …}]}, one document."""
        record = {"checks": [each.as_record() for each in self.files]}
        return json.dumps(record, indent=2, sort_keys=True)

    def as_text(self) -> str:
        """A sentence a file; 80 columns."""
        return "\n".join(
            line
            for each in self.files
            for line in folded(f"{printable(each.sentence)}.")
        )


def check_files(
    files: Sequence[Path],
    *,
    threads: int = 1,
    runtime: str | None = None,
) -> Checks:
    """Run the self-test of each file; all are read before any is run.

    A file without one is an InputRejectedError; otherwise what `Artifact.read` and
    `open_session` raise.
    """
    artifacts = [Artifact.read(path) for path in files]
    tests = [_test_of(each) for each in artifacts]
    found = []
    for artifact, test in zip(artifacts, tests, strict=True):
        try_out(artifact)
        found.append(_checked(artifact, test, threads=threads, runtime=runtime))
    return Checks(tuple(found))


def _test_of(artifact: Artifact) -> SelfTest:
    """The test that a file carries, and the normalization that it needs."""
    if artifact.selftest is None or artifact.preprocess is None:
        raise InputRejectedError(
            f"{artifact.path}: carries no self-test, so that nothing says what it "
            "should answer; export it again, or compare it by `compress verify`"
        )
    return artifact.selftest


def _checked(
    artifact: Artifact, test: SelfTest, *, threads: int, runtime: str | None
) -> Checked:
    """Ask one file."""
    preprocess = artifact.preprocess
    if preprocess is None:
        raise ValueError(artifact.path)
    session = open_session(artifact, threads=threads, runtime=runtime)
    with closing(session):
        # Before images are enlarged to it: a sidecar may claim any size.
        if math.prod(session.input_shape[1:]) not in {1, 3, 3 * preprocess.size**2}:
            raise InputRejectedError(
                f"{artifact.path}: says that images are {preprocess.size} pixels wide, "
                f"but takes {list(session.input_shape)}; export the file again"
            )
        batch = preprocess(test.images(preprocess.size))
        given = session.run(batch)
    scores = check_scores(given, images=len(batch), path=artifact.path)
    if max(test.outputs) >= scores.shape[1]:
        raise InputRejectedError(
            f"{artifact.path}: gives {scores.shape[1]} scores, its self-test speaks of "
            f"number {max(test.outputs)}; export it again"
        )
    errors, unlike = _distances(test, scores)
    worst = int(errors.argmax())
    return Checked(
        file=artifact.path.name,
        sha256=artifact.sha256,
        runtime=session.runtime,
        images=len(errors),
        error=float(errors[worst]),
        tolerance=test.tolerance,
        sample=worst + 1,
        unlike=unlike,
        step=test.step,
        reference=test.reference,
        remark=_remark(artifact),
    )


def _distances(test: SelfTest, scores: Scores) -> tuple[Scores, int]:
    """The largest error of each image [n], and how many have another best class.

    The best of all scores is held against the best that was kept, so that one that was
    not kept cannot win unseen. A score that is no number is infinitely far off.
    """
    kept = scores[:, list(test.outputs)]
    errors = np.abs(kept - test.scores).max(axis=1)
    best = np.abs(scores.max(axis=1) - test.scores.max(axis=1))
    found = np.nan_to_num(np.maximum(errors, best), nan=np.inf, posinf=np.inf)
    expected = np.asarray(test.outputs)[test.scores.argmax(axis=1)]
    return found, int((scores.argmax(axis=1) != expected).sum())


def _remark(artifact: Artifact) -> str:
    """What a reader should know of a failure besides: the file may be for others."""
    if artifact.target is None:
        return ""
    machine = this_machine()
    return (
        f"; it is laid out for the kernels of {artifact.target}, this is "
        f"{machine.cpu} ({machine.arch})"
    )
