"""The verb `profile`: how fast is a file on this machine, and how sure is that.

Nothing heavy is imported before the work begins, so that `--help` answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from runtime.errors import DeviceError, RecipeError
from runtime.plan import numbers

if TYPE_CHECKING:
    import argparse

    from runtime.profiled import Profile
    from runtime.voice import Voice

__all__ = ["INSTEAD", "add_arguments", "answered", "execute", "instead", "keep"]

# What may be asked for instead of a measurement.
INSTEAD: Final = ("check", "classify", "layers")


class Answer(Protocol):
    """What is printed, and the exit code."""

    @property
    def exit_code(self) -> int:
        """The verdict."""
        ...

    def as_json(self) -> str:
        """One document."""
        ...

    def as_text(self) -> str:
        """For people."""
        ...


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is special to this verb."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help=".onnx, .tflite or .pte file; with --classify images, too",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="run the files in turn and report how many times as fast they are",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="instead: run the self-test that files carry; exit code 4 if one "
        "does not compute what was trained",
    )
    parser.add_argument(
        "--classify",
        action="store_true",
        help="instead: name what the images among FILE show",
    )
    parser.add_argument(
        "--layers",
        action="store_true",
        help="instead: what each layer takes, in which numbers it computes, and the "
        "layout tax",
    )
    parser.add_argument(
        "--cores",
        type=numbers,
        default=None,
        metavar="N,N",
        help="run on these cores only",
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
    parser.add_argument(
        "--runtime",
        default=None,
        metavar="NAME",
        help="what executes the files (default: the first one of their format)",
    )
    _add_modes(parser)


def _add_modes(parser: argparse.ArgumentParser) -> None:
    """How long, what beside latency, and what becomes of a measurement that is none."""
    parser.add_argument(
        "--mode",
        choices=("quick", "certified"),
        default="quick",
        help="certified: MLPerf's single stream, 600 s or more a file, p90 by its "
        "early-stopping rule (default: quick)",
    )
    parser.add_argument(
        "--sustained",
        type=float,
        default=None,
        metavar="MIN",
        help="latency over so many minutes, and whether the machine throttles",
    )
    parser.add_argument(
        "--energy",
        default=None,
        metavar="METER",
        help="millijoules an inference: auto, rapl, ina3221, pmic, or a .csv file of "
        "time,watts that an external meter writes",
    )
    parser.add_argument(
        "--roofline",
        action="store_true",
        help="measure this machine's peaks, and each file's share of them",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="keep a measurement that is invalid (throttled, drifting) with its doubt",
    )


def execute(options: argparse.Namespace, screen: Voice) -> Answer:
    """Measure `options.files`; a file that cannot be read stops it before any work."""
    from pathlib import Path

    from runtime.plan import Plan
    from runtime.profiling import profile_files

    if options.device != "cpu":
        raise DeviceError(
            f"--device {options.device}: this program measures the machine it runs on, "
            "which is cpu; `compress profile` reaches other devices"
        )
    other = instead(options)
    if other is not None:
        return answered(other, options)
    plan = Plan.of(options)
    answer = profile_files([Path(name) for name in options.files], plan, screen)
    keep(answer, options, screen)
    return answer


def instead(options: argparse.Namespace) -> str | None:
    """What of INSTEAD is asked for, if anything; RecipeError for two at once."""
    asked = [name for name in INSTEAD if getattr(options, name)]
    if len(asked) > 1:
        raise RecipeError(f"--{' and --'.join(asked)}: give one of them")
    return asked[0] if asked else None


def answered(asked: str, options: argparse.Namespace) -> Answer:
    """The answer of one of INSTEAD, on this machine."""
    from pathlib import Path

    from runtime.pinning import pinned
    from runtime.plan import Plan

    plan = Plan.of(options)
    threads, runtime = plan.threads, plan.runtime
    files = [Path(name) for name in options.files]
    with pinned(plan.cores):
        if asked == "check":
            from runtime.checking import check_files

            return check_files(files, threads=threads, runtime=runtime)
        if asked == "layers":
            from runtime.layers import profile_layers

            counts = (threads, *plan.sweep)
            return profile_layers(
                files, threads=counts, runtime=runtime, seed=plan.seed
            )
        from runtime.classifying import classify, split

        files, images = split(options.files)
        return classify(files, images, threads=threads, runtime=runtime)


def keep(answer: Profile, options: argparse.Namespace, screen: Voice) -> None:
    """Write every sample down where `--out` says, if it does."""
    from pathlib import Path

    from runtime.files import write_text

    for each in answer.measurements:
        for fault in each.faults():
            screen.tell(f"invalid: {each.file}: {fault}")
    if options.out is not None:
        path = Path(options.out) / "profile.json"
        write_text(path, answer.as_json() + "\n")
        screen.tell(f"every sample: {path}")
