"""`python -m runtime FILE...`: profile where only numpy and an interpreter are."""

import argparse
import sys
from collections.abc import Sequence

from runtime import profile
from runtime.errors import EdgepressError, Exit


class _Stderr:
    """The conversation of a machine without `compress`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def tell(self, sentence: str) -> None:
        """Say one sentence."""
        if not self._quiet:
            sys.stderr.write(sentence + "\n")


def parser() -> argparse.ArgumentParser:
    """The flags of `compress profile`."""
    found = argparse.ArgumentParser(
        prog="python -m runtime",
        description="Measure model files on this machine: latency, load time, memory.",
    )
    profile.add_arguments(found)
    found.add_argument("--out", metavar="DIR", help="keep the JSON in DIR as well")
    found.add_argument("--seed", type=int, metavar="N", help="of every draw of chance")
    found.add_argument("--json", action="store_true", help="stdout is exactly JSON")
    found.add_argument("--device", default="cpu", help="cpu")
    found.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    found.add_argument("-q", "--quiet", action="store_true", help="only the answer")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the answer, and return the exit code."""
    options = parser().parse_args(argv)
    try:
        answer = profile.execute(options, _Stderr(quiet=options.quiet))
    except EdgepressError as error:
        sys.stderr.write(f"runtime: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("runtime: interrupted; nothing was written\n")
        return Exit.INTERRUPTED
    sys.stdout.write((answer.as_json() if options.json else answer.as_text()) + "\n")
    return answer.exit_code


if __name__ == "__main__":
    sys.exit(main())
