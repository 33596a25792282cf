"""`python -m runtime FILE...`: profile where only numpy and an interpreter are."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress

from runtime import profile
from runtime.ending import (
    kept_as_bug,
    reader_may_leave,
    say_last,
    speak_plainly,
    terminable,
)
from runtime.errors import EdgepressError, Exit
from runtime.plan import numbers
from runtime.printable import printable


class _Stderr:
    """The conversation of a machine without `compress`."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def tell(self, sentence: str) -> None:
        """Say one sentence."""
        if not self._quiet:
            with suppress(OSError):  # nobody is left to listen
                print(printable(sentence), file=sys.stderr, flush=True)  # noqa: T201


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
    found.add_argument("--device", default="cpu", help="cpu, the machine itself")
    found.add_argument(
        "--threads",
        type=numbers,
        metavar="N",
        help="CPU threads; 1,2,4 measures with each",
    )
    found.add_argument("-q", "--quiet", action="store_true", help="only the answer")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the answer, and return the exit code; no traceback, ever."""
    words = list(sys.argv[1:] if argv is None else argv)
    speak_plainly()
    try:
        with terminable():
            return _run(words)
    except SystemExit as done:  # argparse has printed its help, or its complaint
        with reader_may_leave():
            return int(done.code or 0)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the last net
        sentence, code = _told(error, words)
        say_last("runtime", sentence)
        return int(code)


def _run(words: Sequence[str]) -> int:
    """Measure and print."""
    options = parser().parse_args(words)
    answer = profile.execute(options, _Stderr(quiet=options.quiet))
    with reader_may_leave():
        text = None if options.json else printable(answer.as_text(), lines=True)
        print(answer.as_json() if text is None else text)  # noqa: T201
    return int(answer.exit_code)


def _told(error: BaseException, words: Sequence[str]) -> tuple[str, Exit]:
    """What went wrong in one sentence, and the exit code of its kind."""
    match error:
        case EdgepressError():
            return str(error), error.exit_code
        case KeyboardInterrupt():
            return "interrupted; nothing was written", Exit.INTERRUPTED
        case MemoryError():
            return "out of memory; measure a smaller file", Exit.DEVICE
        case _:
            return kept_as_bug(error, ["python -m runtime", *words]), Exit.BUG


if __name__ == "__main__":
    sys.exit(main())
