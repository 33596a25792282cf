"""The verb `profile`: how fast is a file on this machine, and how sure is that.

Nothing heavy is imported before the work begins, so that `--help` answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.errors import DeviceError

if TYPE_CHECKING:
    import argparse

    from runtime.profiled import Profile
    from runtime.profiling import Voice


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
    parser.add_argument(
        "--runtime",
        default=None,
        metavar="NAME",
        help="what executes the files (default: the first one of their format)",
    )


def execute(options: argparse.Namespace, screen: Voice) -> Profile:
    """Measure `options.files`; a file that cannot be read stops it before any work."""
    from pathlib import Path

    from runtime.plan import Plan
    from runtime.profiling import profile_files

    if options.device != "cpu":
        raise DeviceError(
            f"--device {options.device}: this program measures the machine it runs on, "
            "which is cpu; `compress profile` reaches other devices"
        )
    plan = Plan.of(options)
    answer = profile_files([Path(name) for name in options.files], plan, screen)
    keep(answer, options, screen)
    return answer


def keep(answer: Profile, options: argparse.Namespace, screen: Voice) -> None:
    """Write every sample down where `--out` says, if it does."""
    from pathlib import Path

    from runtime.files import write_text

    if options.out is not None:
        path = Path(options.out) / "profile.json"
        write_text(path, answer.as_json() + "\n")
        screen.tell(f"every sample: {path}")
