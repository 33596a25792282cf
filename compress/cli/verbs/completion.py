"""Shell completion: a script for bash, zsh or tcsh that knows every verb and flag."""

import argparse
import importlib
from typing import TYPE_CHECKING, Final

from compress.context.answer import Facts
from runtime.errors import MissingDependencyError
from runtime.requirements import pip_line

if TYPE_CHECKING:
    from compress.context.console import Console

SHELLS: Final = ("bash", "zsh", "tcsh")
EXAMPLES: Final = (
    "compress completion bash > ~/.local/share/bash-completion/completions/compress",
    "compress completion zsh > ~/.zfunc/_compress",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which shell."""
    parser.add_argument("shell", choices=SHELLS, help="which shell reads the script")


def execute(options: argparse.Namespace, console: "Console") -> Facts:
    """Write the script of a parser that has every verb's flags."""
    del console
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"completion: needs shtab, which is not installed; "
            f"run: {pip_line('compress')}"
        ) from error
    script = shtab.complete(whole_parser(), shell=str(options.shell))
    return Facts(text=script, facts={"shell": options.shell, "script": script})


def whole_parser() -> argparse.ArgumentParser:
    """`compress` as one parser, which the command line itself never has to build."""
    from compress.cli.main import VERBS, parser_of

    parser = argparse.ArgumentParser(prog="compress")
    verbs = parser.add_subparsers(dest="verb")
    for verb, text in VERBS.items():
        own = parser_of(verb, importlib.import_module(f"compress.cli.verbs.{verb}"))
        verbs.add_parser(verb, help=text, parents=[own], add_help=False)
    return parser
