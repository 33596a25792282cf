"""Spoil files of every format, give them to the command line, count what goes wrong.

    python tests/fuzz                    2,000 cases, some minutes
    python tests/fuzz --cases 100 --only onnx,zip

The same seed gives the same cases. Everything is imported once; each case is a fork
with a copy of the format's files, a cache of its own, and limits. It prints a table,
then each kind of failure with a case that shows it, which is kept with --keep; the
exit status is 1 if there is any: a bug (exit 1, a traceback), a crash, a hang, or more
than 4 GB.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

from forked import Outcome, forked
from seeds import Seed, made

from compress.cli.main import main as compress


class Case(NamedTuple):
    """A spoilt file, by what it was made of, and its number there."""

    name: str
    seed: Seed
    number: int


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="formats, divided by commas")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds a case")
    parser.add_argument("--keep", type=Path, help="where failing cases are kept")
    return parser.parse_args()


def tried(
    case: Case, *, sound: Path, seed: int | None, folder: Path, patience_s: float
) -> Outcome:
    """Spoil one file and run one command on it, below `folder`; no seed: as it is."""
    chance = random.Random(f"{seed} {case.name} {case.number}")  # noqa: S311  # no secret
    copy = folder / "files"
    shutil.copytree(case.seed.folder, copy, symlinks=True)
    if seed is not None:
        file = copy / case.seed.file
        change = chance.choice(case.seed.mutations)
        file.write_bytes(change(file.read_bytes(), chance))
    places = {"FOLDER": copy, "IMAGES": sound / "images", "RUN": sound / "run"}
    words = list(chance.choice(case.seed.commands))
    for word, place in places.items():
        words = [each.replace(word, str(place)) for each in words]
    (folder / "command.json").write_text(json.dumps(words))
    return forked(
        compress,
        words,
        folder=folder,
        environment={"EDGEPRESS_CACHE": str(folder / "cache"), "HOME": str(folder)},
        patience_s=patience_s,
    )


class Score:
    """What the cases came to."""

    def __init__(self, keep: Path | None) -> None:
        self.keep = keep
        self.cases = 0
        self.ends: dict[str, Counter[str]] = defaultdict(Counter)
        self.failures: dict[str, list[tuple[Case, Outcome]]] = defaultdict(list)

    def note(self, case: Case, outcome: Outcome, folder: Path) -> None:
        """Count one case; the first of each kind of failure is kept."""
        failure = outcome.failure
        self.cases += 1
        if self.cases % 100 == 0:
            kinds = ", ".join(sorted(self.failures)) or "no failure"
            sys.stderr.write(f"{self.cases} cases: {kinds}\n")
        self.ends[case.name][failure or f"exit {outcome.exit_code}"] += 1
        if failure is None:
            return
        self.failures[failure].append((case, outcome))
        if self.keep and len(self.failures[failure]) == 1:
            name = f"{case.name}-{case.number}".replace(" ", "-")
            shutil.copytree(folder, self.keep / name, dirs_exist_ok=True)

    def as_text(self) -> str:
        """A line a format, two lines a kind of failure, and the sum."""
        lines = []
        for name, counted in self.ends.items():
            ends = ", ".join(
                f"{number} {end}" for end, number in sorted(counted.items())
            )
            lines.append(f"{name:24} {ends}")
        for failure, found in sorted(self.failures.items(), key=lambda kind: kind[0]):
            case, outcome = found[0]
            lines.append(f"{len(found)} x {failure} (as {case.name}, {case.number})")
            lines.append("    " + outcome.told.strip().split("\n")[-1][:200])
        failed = sum(map(len, self.failures.values()))
        lines.append(f"{self.cases} cases, {failed} failures")
        return "\n".join(lines)


def ready() -> None:
    """Import what most commands need, so that a fork has it already."""
    import torch

    torch.set_num_threads(1)
    for verb in ("eval", "profile", "show", "verify", "run"):
        importlib.import_module(f"compress.cli.verbs.{verb}")
    for name in (
        "compress.evaluation.evaluate",
        "compress.pipeline.run",
        "compress.evaluation.verification",
    ):
        importlib.import_module(name)
    with contextlib.redirect_stdout(io.StringIO()):
        compress(["models", "lenet5", "-q"])


def main() -> int:
    """Run the cases, each format in turn; a sound file of each must be fine first."""
    asked = arguments()
    score = Score(asked.keep)
    with tempfile.TemporaryDirectory() as place:
        sound = Path(place) / "sound"
        sound.mkdir()
        os.environ["EDGEPRESS_CACHE"] = str(sound / "cache")
        seeds = made(sound, asked.only.split(",") if asked.only else ())
        names = list(seeds)
        ready()
        for number in range(-len(names), asked.cases):
            name = names[number % len(names)]
            case = Case(name, seeds[name], number // len(names))
            with tempfile.TemporaryDirectory(dir=place) as folder:
                outcome = tried(
                    case,
                    sound=sound,
                    seed=asked.seed if number >= 0 else None,
                    folder=Path(folder),
                    patience_s=asked.patience,
                )
                if number >= 0:
                    score.note(case, outcome, Path(folder))
                elif outcome.exit_code not in case.seed.fine:
                    raise SystemExit(f"fuzz: a sound {name} is refused: {outcome.told}")
    sys.stdout.write(score.as_text() + "\n")
    return 1 if score.failures else 0


if __name__ == "__main__":
    sys.exit(main())
