"""The command line: one verb, its flags, one answer; heavy imports come after that."""

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NoReturn, cast

from compress.arguments import (
    Parser,
    add_computing_flags,
    add_shared_flags,
    meant,
)
from runtime.ending import (
    kept_as_bug,
    reader_may_leave,
    say_last,
    speak_plainly,
    terminable,
)
from runtime.errors import EdgepressError, Exit, RecipeError
from runtime.printable import printable

if TYPE_CHECKING:
    from compress.answer import Answer

# Verb -> what it does; each is a module of `compress.verbs` with the same name.
VERBS: Final[Mapping[str, str]] = {
    "distill": "teach a small network what a large one knows; prove, measure",
    "finetune": "train a network on your data; export, prove, measure",
    "prune": "take channels and blocks out of a network; export, prove, measure",
    "sparsify": "set weights to zero, in any place or 2:4; train, export, prove",
    "factorize": "split layers into thinner ones; fit, export, prove, measure",
    "quantize": "make an INT8 model, after training or by training; export, prove",
    "sensitivity": "what each layer is worth: accuracy by the share of channels cut",
    "run": "run a recipe file",
    "export": "write a model file and prove that it computes what was trained",
    "verify": "ask a run's network and files the same images, and compare",
    "eval": "top-1 and top-5 of a model, a run or a model file",
    "profile": "measure model files, on this machine or on boards",
    "devices": "the boards that --device may name: add, list, check, remove",
    "show": "print the report of a run again",
    "cache": "what runs share on this machine: list it, check it, make room",
    "models": "list architectures with parameters and MACs",
    "targets": "list devices: their files, their runtimes, what goes wrong there",
    "doctor": "what is installed, what is missing, what that would enable",
    "completion": "a script that lets a shell complete verbs and flags",
}

EPILOG: Final = """\
start here:  compress distill --teacher resnet50 --student mobilenetv3
exit codes:  0 fit to ship, 1 a bug, 2 usage or recipe, 3 input rejected,
             4 parity failed, 5 budget missed, 6 a dependency is missing,
             7 device unreachable or measurement invalid, 130 interrupted
"""


# Verbs that look things up, without chance, device or threads.
LOOKED_UP: Final = frozenset(
    {"show", "cache", "devices", "models", "targets", "doctor", "completion"}
)
# Verbs that make nothing but their answer, which `--out DIR` keeps as DIR/VERB.json;
# the others know what belongs there.
ONLY_ANSWER: Final = LOOKED_UP | {"sensitivity", "verify", "eval"}
# What a disk may answer instead of taking a file; none of them is a bug of ours.
REFUSALS: Final = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
)


def entry() -> NoReturn:
    """Run as the console script."""
    speak_plainly()
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; no traceback reaches the user."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with terminable():
            return _run(words)
    except SystemExit as done:  # argparse has printed its help
        with reader_may_leave():
            return int(done.code or 0)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the last net
        sentence, code = _told(error, words)
        say_last("compress", sentence)
        if "--json" in words and _is_main_process():
            with reader_may_leave():
                print(_failure(sentence, code))  # noqa: T201
        return int(code)


def _run(words: Sequence[str]) -> int:
    """Find the verb, import it, let it work, print its answer."""
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is None:
        asked = _top().parsed(words).version
        with reader_may_leave():
            print(_version() if asked else _top().format_help().rstrip())  # noqa: T201
        return Exit.FIT
    if verb not in VERBS:
        hint = meant(verb, VERBS) or f"known: {', '.join(VERBS)}"
        raise RecipeError(f"unknown verb {verb!r}; {hint}")
    if words[0] != verb:
        raise RecipeError(f"{words[0]}: the verb comes first: `compress {verb} …`")
    module = importlib.import_module(f"compress.verbs.{verb}")
    parser = parser_of(verb, module)
    options = parser.parsed(words[1:])
    answer = _answer(module, options)
    if verb in ONLY_ANSWER and options.out is not None:
        from pathlib import Path

        from runtime.files import write_text

        write_text(Path(options.out) / f"{verb}.json", answer.as_json() + "\n")
    if _is_main_process():
        with reader_may_leave():
            text = None if options.json else printable(answer.as_text(), lines=True)
            print(answer.as_json() if text is None else text)  # noqa: T201
    return int(answer.exit_code)


def parser_of(verb: str, module: object) -> Parser:
    """The parser of a verb, with its examples below."""
    lines = "\n".join(f"  {line}" for line in module.EXAMPLES)  # type: ignore[attr-defined]
    parser = Parser(
        prog=f"compress {verb}",
        description=module.__doc__,
        epilog=f"for example:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_help_flags()
    module.add_arguments(parser)  # type: ignore[attr-defined]
    add_shared_flags(parser)
    if verb not in LOOKED_UP:
        add_computing_flags(parser, threads=getattr(module, "THREADS", None))
    return parser


def _version() -> str:
    """This program and its version."""
    from importlib.metadata import version

    return f"edgepress {version('edgepress')}"


def _answer(module: object, options: argparse.Namespace) -> "Answer":
    """Let a verb's module do its work."""
    from compress.passes import heard_by
    from compress.screen import Screen

    threads = getattr(options, "threads", None)
    if threads is not None:
        # Read by OpenMP when torch or an interpreter loads, which is later.
        most = max(threads) if isinstance(threads, tuple) else threads
        os.environ["OMP_NUM_THREADS"] = str(most)
    quiet = options.quiet or not _is_main_process()
    screen = Screen(
        verbosity="quiet" if quiet else "verbose" if options.verbose else "normal"
    )
    with heard_by(screen):
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


def _told(error: BaseException, words: Sequence[str]) -> tuple[str, Exit]:
    """What went wrong in one sentence, and the exit code of its kind."""
    match error:
        case EdgepressError():
            told = str(error), error.exit_code
        case KeyboardInterrupt():
            told = (
                "interrupted; what was finished is kept, run the same command to go on",
                Exit.INTERRUPTED,
            )
        case ModuleNotFoundError() if (extra := _extra(error)) is not None:
            told = (
                f"needs {error.name}, which is not installed; run: {extra}",
                Exit.MISSING,
            )
        case MemoryError():
            told = (
                "out of memory; try a smaller --batch-size or --image-size",
                Exit.DEVICE,
            )
        case OSError() if error.errno in REFUSALS:
            told = _refused(error), Exit.USAGE
        case _:
            told = kept_as_bug(error, ["compress", *words]), Exit.BUG
    return told


def _failure(sentence: str, code: Exit) -> str:
    """What a script reads where there is no report, under the keys of one."""
    import json

    record = {"verdict": sentence, "exit_code": int(code), "ship": [], "error": True}
    return json.dumps(record, indent=2)


def _extra(error: ModuleNotFoundError) -> str | None:
    """The command that brings a missing library; None if no extra has it."""
    from compress.extras import missing_extra
    from runtime.requirements import pip_line

    extra = missing_extra(error.name or "")
    return None if extra is None else pip_line(extra)


def _refused(error: OSError) -> str:
    """What to do when the disk takes no more."""
    return (
        f"{error.filename or 'the disk'}: cannot be written: {error.strerror}; what "
        "was finished is kept; make room, then run the same command again"
    )
