"""The command line: one verb, its flags, one answer; heavy imports come after that."""

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NoReturn, cast

from runtime.errors import (
    EdgepressError,
    Exit,
    InterruptedRunError,
    MissingDependencyError,
    RecipeError,
)

if TYPE_CHECKING:
    from compress.answer import Answer

# Verb -> what it does; each is a module of `compress.verbs` with the same name.
VERBS: Final[Mapping[str, str]] = {
    "distill": "teach a small network what a large one knows; export, prove, measure",
    "finetune": "train a network on your data; export, prove, measure",
    "run": "run a recipe file",
    "export": "write a model file and prove that it computes what was trained",
    "eval": "top-1 and top-5 of a model, a run or a model file",
    "profile": "measure model files on this machine",
    "show": "print the report of a run again",
    "models": "list architectures with parameters and MACs",
    "doctor": "what is installed, what is missing, what that would enable",
}

EPILOG: Final = """\
start here:  compress distill --teacher resnet50 --student mobilenetv3
exit codes:  0 fit to ship, 1 a bug, 2 usage or recipe, 3 input rejected,
             4 parity failed, 5 budget missed, 6 a dependency is missing,
             7 device unreachable or measurement invalid, 130 interrupted
"""


class Parser(argparse.ArgumentParser):
    """argparse, complaining in one sentence; overriding `error` is its own way."""

    def error(self, message: str) -> NoReturn:
        """Turn a complaint into our exit code and one sentence."""
        raise RecipeError(f"{message} (see `{self.prog} --help`)")


def entry() -> NoReturn:
    """Run as the console script."""
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; no traceback reaches the user."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except EdgepressError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain(
            "interrupted; what was finished is kept, run the same command to go on",
            InterruptedRunError.exit_code,
        )
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FIT
    except ModuleNotFoundError as error:
        return _missing(error)
    except MemoryError:
        return _complain(
            "out of memory; try a smaller --batch-size or --image-size", Exit.DEVICE
        )
    except Exception as error:  # noqa: BLE001  # the last net: a bug, told as one
        return _bug(error, words)


def _run(words: Sequence[str]) -> int:
    """Find the verb, import it, let it work, print its answer."""
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is None or words.index(verb) > 0:
        if _top().parse_args(words).version:
            from importlib.metadata import version

            print(f"edgepress {version('edgepress')}")  # noqa: T201
        else:
            _top().print_help()
        return Exit.FIT
    if verb not in VERBS:
        import difflib

        close = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(VERBS)}"
        raise RecipeError(f"unknown verb {verb!r}; {hint}")
    module = importlib.import_module(f"compress.verbs.{verb}")
    parser = Parser(
        prog=f"compress {verb}", description=module.__doc__, allow_abbrev=False
    )
    _add_shared_flags(parser)
    module.add_arguments(parser)
    options = parser.parse_args(words[1:])
    answer = _answer(module, options)
    if _is_main_process():
        print(answer.as_json() if options.json else answer.as_text())  # noqa: T201
    return int(answer.exit_code)


def _answer(module: object, options: argparse.Namespace) -> "Answer":
    """Let a verb's module do its work."""
    from compress.screen import Screen

    if options.threads is not None:
        # Read by OpenMP when torch or an interpreter loads, which is later.
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    quiet = options.quiet or not _is_main_process()
    screen = Screen(
        verbosity="quiet" if quiet else "verbose" if options.verbose else "normal"
    )
    return cast("Answer", module.execute(options, screen))  # type: ignore[attr-defined]


def _is_main_process() -> bool:
    """Whether this process speaks for all that `torchrun` started."""
    from compress.job import is_main_process

    return is_main_process()


def _top() -> Parser:
    """The parser of `compress` itself."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {text}" for verb, text in VERBS.items())
    parser = Parser(
        prog="compress",
        usage="compress VERB [options]",
        description="Trained vision model in, small proven model file out.\n\n"
        f"verbs (each has --help):\n{verbs}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print it and exit")
    return parser


def _add_shared_flags(parser: argparse.ArgumentParser) -> None:
    """Give a verb the flags that every verb takes."""
    group = parser.add_argument_group("every verb")
    group.add_argument("--out", metavar="DIR", help="where results go")
    group.add_argument("--seed", type=int, metavar="N", help="of every draw of chance")
    group.add_argument("--json", action="store_true", help="stdout is exactly JSON")
    group.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps …")
    group.add_argument("--threads", type=int, metavar="N", help="CPU threads")
    group.add_argument("-q", "--quiet", action="store_true", help="only the answer")
    group.add_argument("-v", "--verbose", action="store_true", help="every detail")


def _complain(sentence: str, code: Exit) -> int:
    """One sentence on stderr."""
    print(f"compress: {sentence}", file=sys.stderr)  # noqa: T201
    return int(code)


def _missing(error: ModuleNotFoundError) -> int:
    """Name the extra that brings a missing library."""
    from compress.extras import missing_extra

    name = (error.name or "").partition(".")[0]
    extra = missing_extra(name)
    if extra is None:
        return _bug(error, [])
    return _complain(
        f"needs {name}, which is not installed; pip install 'edgepress[{extra}]'",
        MissingDependencyError.exit_code,
    )


def _bug(error: BaseException, words: Sequence[str]) -> int:
    """Keep the traceback in a file and tell where."""
    import tempfile
    import traceback

    handle, path = tempfile.mkstemp(prefix="edgepress-bug-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(f"compress {' '.join(words)}\n\n")
        stream.writelines(traceback.format_exception(error))
    return _complain(
        f"this is a bug in edgepress ({type(error).__name__}: {error}); please report it "
        f"with {path}",
        Exit.BUG,
    )
