"""The verb `profile`: how fast is a file on this machine, and how sure is that.

Nothing heavy is imported before the work begins, so that `--help` answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from runtime.errors import DeviceError, MissingDependencyError, RecipeError
from runtime.requirements import pip_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from runtime.artifact import Artifact
    from runtime.profiled import Profile
    from runtime.session import Session


class Voice(Protocol):
    """Whoever passes sentences on to the user."""

    def tell(self, sentence: str) -> None:
        """Say one sentence."""
        ...


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is special to this verb."""
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help=".onnx or .tflite file"
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="run the files in turn and report how many times as fast they are",
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=200,
        metavar="N",
        help="inferences to measure after the warm-up (default: 200)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=None,
        metavar="S",
        help="measure for this long instead (each file; with --compare all together)",
    )


def execute(options: argparse.Namespace, screen: Voice) -> Profile:
    """Measure `options.files`; a file that cannot be read stops it before any work."""
    from contextlib import ExitStack, closing
    from pathlib import Path

    if options.device != "cpu":
        raise DeviceError(
            f"--device {options.device}: no interpreter for it here; profile knows cpu"
        )
    _check_flags(options)
    files = [Path(name) for name in options.files]
    if options.compare and len(files) < 2:  # noqa: PLR2004  # two sides
        raise RecipeError("--compare: one file given; give two or more")
    try:
        import numpy as np
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"profile: needs numpy, which is not installed; run: {pip_line('')}"
        ) from error
    from runtime.artifact import Artifact
    from runtime.contained import try_out
    from runtime.files import write_text
    from runtime.measure import measure, measure_together
    from runtime.profiled import Profile

    threads = 1 if options.threads is None else options.threads
    rng = np.random.default_rng(options.seed or 0)
    artifacts = _named([Artifact.read(path) for path in files])
    for artifact in artifacts.values():
        try_out(artifact)
    with ExitStack() as opened:
        sessions: dict[str, Session] = {}
        for name, artifact in artifacts.items():
            session = _opened(name, artifact, screen, threads=threads)
            sessions[name] = opened.enter_context(closing(session))
        screen.tell(f"running {', '.join(sessions)}")
        if options.compare:
            measurements, comparisons = measure_together(
                sessions, rng=rng, runs=options.runs, seconds=options.seconds
            )
        else:
            comparisons = ()
            measurements = measure(
                sessions, rng=rng, runs=options.runs, seconds=options.seconds
            )
    answer = Profile(measurements=measurements, comparisons=comparisons)
    if options.out is not None:
        path = Path(options.out) / "profile.json"
        write_text(path, answer.as_json() + "\n")
        screen.tell(f"every sample: {path}")
    return answer


def _check_flags(options: argparse.Namespace) -> None:
    """Refuse numbers that no memory, no machine and no generator takes."""
    for flag, number, most in (
        ("--runs", options.runs, 10_000_000),
        ("--threads", options.threads or 1, 1024),
        ("--seed", options.seed or 0, 2**32 - 1),
    ):
        if number > most or (flag == "--seed" and number < 0):
            raise RecipeError(f"{flag} {number}; allowed: up to {most}")


def _opened(name: str, artifact: Artifact, screen: Voice, *, threads: int) -> Session:
    """A session, announced."""
    from runtime.session import open_session

    session = open_session(artifact, threads=threads)
    shape = "x".join(map(str, session.input_shape))
    screen.tell(
        f"{name}: {session.runtime}, input {shape}, loaded in {session.load_ms:.0f} ms"
    )
    return session


def _named(artifacts: Sequence[Artifact]) -> dict[str, Artifact]:
    """The shortest names that tell the files apart; one given twice is numbered."""
    names = [each.path.name for each in artifacts]
    if len(set(names)) < len(names):
        names = [str(each.path) for each in artifacts]
    found: dict[str, Artifact] = {}
    for name, artifact in zip(names, artifacts, strict=True):
        count = sum(1 for other in found if other.partition(" #")[0] == name)
        found[f"{name} #{count + 1}" if count else name] = artifact
    return found
