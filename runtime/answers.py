"""Inference on given images, scores as JSON: what two machines are compared by.

`python -m runtime.answers IMAGES.npy FILE...` prints what each file answers on this
machine, be it emulated; no time is taken.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.artifact import Artifact
from runtime.batch import Batch, in_layout_of
from runtime.errors import EdgepressError, InputRejectedError, one_line
from runtime.machine import Machine, this_machine
from runtime.plain_json import json_record
from runtime.reading import read_machine
from runtime.session import open_session
from runtime.typed import record_as


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Scores of several files to the same images: float32 [n, outputs], by file name.

    runtimes: the interpreter of each file, with its version.
    """

    machine: Machine
    scores: Mapping[str, Batch]
    runtimes: Mapping[str, str]

    def as_json(self) -> str:
        """One document; a float32 is a float64, so that JSON keeps it exactly."""
        record = {
            "machine": self.machine.as_record(),
            "scores": {name: rows.tolist() for name, rows in self.scores.items()},
            "runtimes": dict(self.runtimes),
        }
        return json.dumps(record, sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class _Record:
    """The record of Answers."""

    machine: Mapping[str, object]
    scores: Mapping[str, tuple[tuple[float, ...], ...]]
    runtimes: Mapping[str, str]


def answers_of(files: Sequence[Path], images: Batch) -> Answers:
    """Ask each file `images`, float32 [n, 3, height, width], on this machine."""
    scores: dict[str, Batch] = {}
    runtimes: dict[str, str] = {}
    for path in files:
        artifact = Artifact.read(path)
        with closing(open_session(artifact)) as session:
            scores[path.name] = session.run(in_layout_of(artifact, images))
            runtimes[path.name] = session.runtime
    return Answers(machine=this_machine(), scores=scores, runtimes=runtimes)


def read_answers(text: str | bytes, *, source: str) -> Answers:
    """What `Answers.as_json` wrote elsewhere; InputRejectedError if it is none."""
    found = record_as(_Record, json_record(text, source=source), source=source)
    try:
        scores = {
            name: np.asarray(rows, np.float32) for name, rows in found.scores.items()
        }
    except ValueError as error:
        raise InputRejectedError(
            f"{source}: scores are no table: {one_line(error)}"
        ) from error
    machine = read_machine(found.machine, source=f"{source}: machine")
    return Answers(machine=machine, scores=scores, runtimes=found.runtimes)


def main(words: Sequence[str]) -> int:
    """Print what the files named in `words` answer to the images named first."""
    try:
        images = np.load(words[0], allow_pickle=False).astype(np.float32, copy=False)
        answer = answers_of([Path(word) for word in words[1:]], images)
    except EdgepressError as error:
        sys.stderr.write(f"runtime: {error}\n")
        return error.exit_code
    sys.stdout.write(answer.as_json() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
