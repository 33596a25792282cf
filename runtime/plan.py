"""What a measurement is asked for, wherever it is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.errors import RecipeError

if TYPE_CHECKING:
    import argparse


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How files are measured; a device far away gets it as `words`.

    runs: inferences after the warm-up; seconds: to measure instead, each file, or with
    compare all together; runtime: a name of `runtime.backends.table`, None for the one
    of the file's format; seed: of the images and of whose turn it is.
    """

    runs: int = 200
    seconds: float | None = None
    compare: bool = False
    threads: int = 1
    runtime: str | None = None
    seed: int = 0

    @classmethod
    def of(cls, options: argparse.Namespace) -> Plan:
        """The plan that the flags of `profile` describe; RecipeError if none does.

        Refused are numbers that no memory, no machine and no generator takes.
        """
        plan = cls(
            runs=options.runs,
            seconds=options.seconds,
            compare=options.compare,
            threads=1 if options.threads is None else options.threads,
            runtime=options.runtime,
            seed=options.seed or 0,
        )
        for flag, number, most in (
            ("--runs", plan.runs, 10_000_000),
            ("--threads", plan.threads, 1024),
            ("--seed", plan.seed, 2**32 - 1),
        ):
            if number > most or (flag == "--seed" and number < 0):
                raise RecipeError(f"{flag} {number}; allowed: up to {most}")
        if plan.compare and len(options.files) < 2:  # noqa: PLR2004  # two sides
            raise RecipeError("--compare: one file given; give two or more")
        return plan

    def words(self) -> list[str]:
        """The flags of `python -m runtime` that ask for this plan."""
        words = [f"--runs={self.runs}", f"--threads={self.threads}"]
        words += [f"--seed={self.seed}"]
        if self.seconds is not None:
            words.append(f"--seconds={self.seconds!r}")
        if self.compare:
            words.append("--compare")
        if self.runtime is not None:
            words.append(f"--runtime={self.runtime}")
        return words
