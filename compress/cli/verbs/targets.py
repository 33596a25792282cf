"""`compress targets [NAME]`: devices, what their files look like, and their traps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from compress.context.answer import Facts
    from compress.context.console import Console


EXAMPLES: Final = ("compress targets", "compress targets rpi5")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is listed."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="one of them, with what goes wrong there and who found out",
    )


def execute(options: argparse.Namespace, console: Console) -> Facts:
    """List every target, or describe one; RecipeError where there is no such."""
    del console
    from compress.cli.target_list import described, record_of, table
    from compress.context.answer import Facts
    from runtime.target import TARGETS, target

    if options.name is None:
        records = [record_of(each) for each in TARGETS.values()]
        return Facts(text=table(tuple(TARGETS.values())), facts=records)
    found = target(options.name)
    return Facts(text=described(found), facts=record_of(found))
