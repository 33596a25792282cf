"""What a measurement is asked for, wherever it is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from runtime.errors import RecipeError

if TYPE_CHECKING:
    import argparse

# `mlperf.conf` of mlcommons/inference: *.SingleStream.min_duration = 600000 (ms).
CERTIFIED_S: Final = 600.0
_MOST_MINUTES: Final = 24 * 60


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How files are measured; a device far away gets it as `words`.

    runs: inferences after the warm-up; seconds: to measure instead, each file, or with
    compare all together; runtime: a name of `runtime.backends.table`, None for the one
    of the file's format; seed: of the images and of whose turn it is; mode: `certified`
    is MLPerf's single stream; sustained_min: minutes of sustained performance instead;
    force: an invalid measurement is kept with its doubt; energy: a meter's name or a
    CSV file; roofline: hold the files against this machine's peaks; sweep: numbers of
    threads to measure with as well; cores: to be pinned to, all if there are none.
    """

    runs: int = 200
    seconds: float | None = None
    compare: bool = False
    threads: int = 1
    runtime: str | None = None
    seed: int = 0
    mode: Literal["quick", "certified"] = "quick"
    sustained_min: float | None = None
    force: bool = False
    energy: str | None = None
    roofline: bool = False
    sweep: tuple[int, ...] = ()
    cores: tuple[int, ...] = ()

    @classmethod
    def of(cls, options: argparse.Namespace) -> Plan:
        """The plan that the flags of `profile` describe; RecipeError if none does.

        Refused are numbers that no memory, no machine and no generator takes.
        """
        threads, *sweep = counts_of(options)
        plan = cls(
            runs=options.runs,
            seconds=options.seconds,
            compare=options.compare,
            threads=threads,
            sweep=tuple(sweep),
            cores=options.cores or (),
            runtime=options.runtime,
            seed=options.seed or 0,
            mode=options.mode,
            sustained_min=options.sustained,
            force=options.force,
            energy=options.energy,
            roofline=options.roofline,
        )
        for flag, number, most in (
            ("--runs", plan.runs, 10_000_000),
            *(("--threads", count, 1024) for count in (threads, *sweep)),
            ("--seed", plan.seed, 2**32 - 1),
        ):
            least = 0 if flag == "--seed" else 1
            if not least <= number <= most:
                raise RecipeError(
                    f"{flag} {number}; allowed: up to {most}, at least {least}"
                )
        if plan.compare and len(options.files) < 2:  # noqa: PLR2004  # two sides
            raise RecipeError("--compare: one file given; give two or more")
        if plan.compare and plan.sweep:
            raise RecipeError(
                "--compare takes files in turn with one number of threads; "
                f"--threads names {len(plan.sweep) + 1}"
            )
        plan.check_long()
        return plan

    def check_long(self) -> None:
        """Refuse flags of long runs that contradict each other, or mean nothing."""
        minutes = self.sustained_min
        if minutes is not None and not 0 < minutes <= _MOST_MINUTES:
            raise RecipeError(
                f"--sustained {minutes}; allowed: up to {_MOST_MINUTES} minutes"
            )
        if self.long and self.compare:
            raise RecipeError(
                "--compare takes files in turn; certified and sustained runs take each "
                "by itself: leave one out"
            )
        if self.mode == "certified" and minutes is not None:
            raise RecipeError("--sustained and --mode certified: give one of them")
        if minutes is not None and self.seconds is not None:
            raise RecipeError("--sustained and --seconds: give one of them")
        seconds = CERTIFIED_S if self.seconds is None else self.seconds
        if self.mode == "certified" and not CERTIFIED_S <= seconds < float("inf"):
            raise RecipeError(
                f"--seconds {self.seconds}; allowed: {CERTIFIED_S:.0f} or more with "
                "--mode certified"
            )

    @property
    def long(self) -> bool:
        """Whether each file is measured for minutes."""
        return self.mode == "certified" or self.sustained_min is not None

    @property
    def long_seconds(self) -> float:
        """For how long that is."""
        if self.sustained_min is not None:
            return self.sustained_min * 60
        return CERTIFIED_S if self.seconds is None else self.seconds

    def words(self) -> list[str]:
        """The flags of `python -m runtime` that ask for this plan."""
        threads = ",".join(map(str, (self.threads, *self.sweep)))
        words = [f"--runs={self.runs}", f"--threads={threads}"]
        words += [f"--seed={self.seed}"]
        if self.seconds is not None:
            words.append(f"--seconds={self.seconds!r}")
        if self.compare:
            words.append("--compare")
        if self.runtime is not None:
            words.append(f"--runtime={self.runtime}")
        if self.mode != "quick":
            words.append(f"--mode={self.mode}")
        if self.sustained_min is not None:
            words.append(f"--sustained={self.sustained_min!r}")
        if self.energy is not None:
            words.append(f"--energy={self.energy}")
        if self.cores:
            words.append(f"--cores={','.join(map(str, self.cores))}")
        words += ["--force"] * self.force + ["--roofline"] * self.roofline
        return words


def numbers(text: str) -> tuple[int, ...]:
    """Convert `1,2,4` to whole numbers, each of them once."""
    from argparse import ArgumentTypeError

    parts = [part.strip() for part in text.split(",")]
    plain = all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts)  # noqa: PLR2004  # digits
    found = tuple(dict.fromkeys(map(int, parts))) if plain else ()
    if len(found) < len(parts):
        raise ArgumentTypeError(
            f"found {text!r}, which should be whole numbers, such as 1,2,4, each once"
        )
    return found


def counts_of(options: argparse.Namespace) -> tuple[int, ...]:
    """Numbers of threads, one or more."""
    if options.threads is None:
        return (1,)
    return options.threads if isinstance(options.threads, tuple) else (options.threads,)
