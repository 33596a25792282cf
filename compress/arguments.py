"""argparse in our voice: one sentence a complaint, with what was probably meant."""

import argparse
import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, NoReturn

from runtime.errors import RecipeError
from runtime.units import SHARE

# Flags of every verb that computes.
_COMPUTING: Final = frozenset({"--seed", "--device", "--threads"})


class Parser(argparse.ArgumentParser):
    """argparse, complaining in one sentence; overriding `error` is its own way."""

    rare: frozenset[str] = frozenset()  # flags that only the long help shows

    def add_help_flags(self) -> None:
        """`--help` for what most people need, `--help-all` for all there is."""
        self.add_argument(
            "-h", "--help", action=_Help, help="the flags most people use"
        )
        self.add_argument("--help-all", action=_Help, help="every flag")

    def short_help(self) -> str:
        """The help without rare flags, and how to see those."""
        hidden = [
            action
            for action in self._actions
            if self.rare.intersection(action.option_strings)
        ]
        helps = [action.help for action in hidden]
        for action in hidden:
            action.help = argparse.SUPPRESS
        try:
            text = self.format_help()
        finally:
            for action, told in zip(hidden, helps, strict=True):
                action.help = told
        if hidden:
            text += f"\n{len(hidden)} more flags: `{self.prog} --help-all`\n"
        return text

    def error(self, message: str) -> NoReturn:
        """Turn a complaint into our exit code and one sentence."""
        sentence = message.removeprefix("argument ")
        raise RecipeError(f"{sentence} (see `{self.prog} --help`)")

    def parsed(self, words: Sequence[str]) -> argparse.Namespace:
        """Read `words`; one that is not known is told with what was probably meant."""
        options, rest = self.parse_known_args(words)
        if not rest:
            return options
        word = next((each for each in rest if each.startswith("-")), rest[0])
        known = [flag for action in self._actions for flag in action.option_strings]
        kind, hint, flag = "word", None, word.partition("=")[0]
        if flag in _COMPUTING:
            raise RecipeError(f"{flag}: `{self.prog}` computes nothing; leave it out")
        if word.startswith("-"):
            kind, hint = "flag", meant(flag, known)
        raise RecipeError(
            f"unknown {kind} {word!r}; {hint or f'`{self.prog} --help` lists them all'}"
        )


class _Help(argparse.Action):
    """Print the short help, or the long one, and leave."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002  # argparse's own name
        """A flag without a value, which leaves no trace."""
        super().__init__(
            option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help
        )

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> NoReturn:
        """As argparse's own help does, to stdout."""
        del namespace, values
        short = isinstance(parser, Parser) and option_string != "--help-all"
        text = parser.short_help() if short else parser.format_help()  # type: ignore[attr-defined]
        with suppress(BrokenPipeError):
            print(text, end="", flush=True)  # noqa: T201
        parser.exit()


def meant(word: str, known: Iterable[str]) -> str | None:
    """A question with the nearest of `known`, if one is near; dashes do not count."""
    bare = {each.lstrip("-"): each for each in known}
    close = difflib.get_close_matches(word.lstrip("-"), bare, n=1)
    return f"did you mean {bare[close[0]]!r}?" if close else None


def whole(least: int, most: int) -> Callable[[str], int]:
    """A conversion to a whole number between two others, both included."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if least <= number <= most:
            return number
        raise argparse.ArgumentTypeError(
            f"found {text!r}, which should be a whole number from {least} to {most}"
        )

    return convert


def byte_count(text: str) -> int:
    """Convert `5GB`, `500 MB` or `12345` to bytes; 1 MB is 10^6 bytes, 1 MiB 2^20."""
    found = re.fullmatch(
        r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([kKMGT]?)(i?)B?", text.strip()
    )
    if found is None:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, which should be a size such as 5GB, 500MB or 12345"
        )
    step = 1024.0 if found[3] else 1000.0
    power = " kMGT".index(found[2].replace("K", "k") or " ")
    return round(float(found[1]) * step**power)


def share(text: str) -> float:
    """Convert to a fraction from 0 to 1; `2%` is 0.02."""
    try:
        number = SHARE.number(text)
    except ValueError:
        number = -1.0
    if 0 <= number <= 1:
        return number
    raise argparse.ArgumentTypeError(
        f"found {text!r}, which should be a fraction from 0 to 1, or a percentage"
    )


def add_shared_flags(parser: argparse.ArgumentParser) -> None:
    """Give a verb the flags that every verb takes."""
    group = parser.add_argument_group("every verb")
    group.add_argument("--out", metavar="DIR", help="where results go")
    group.add_argument("--json", action="store_true", help="stdout is exactly JSON")
    group.add_argument("-q", "--quiet", action="store_true", help="only the answer")
    group.add_argument("-v", "--verbose", action="store_true", help="every detail")


def add_computing_flags(
    parser: argparse.ArgumentParser,
    *,
    threads: Callable[[str], object] | None = None,
) -> None:
    """Give a verb the flags that every verb that computes takes.

    threads: what reads their number, where a verb takes several.
    """
    group = parser.add_argument_group("every verb that computes")
    group.add_argument(
        "--seed",
        type=whole(0, 2**32 - 1),
        metavar="N",
        help="of every draw of chance (default: 0)",
    )
    group.add_argument(
        "--device",
        default="cpu",
        help="what computes: cpu, cuda, cuda:1, mps; or what measures: pi5, pi4,orin",
    )
    group.add_argument(
        "--threads",
        type=threads or whole(1, 1024),
        metavar="N",
        help="CPU threads; 1,2,4 measures with each" if threads else "CPU threads",
    )
