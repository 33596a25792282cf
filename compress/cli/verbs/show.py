"""Print the report of a run again."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from compress.context.answer import Answer
    from compress.context.console import Console


EXAMPLES: Final = ("compress show runs/quantize-mobilenet_v2-1a2b3c4d",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: the run."""
    parser.add_argument("run", metavar="RUN", help="a run directory")


def execute(options: argparse.Namespace, console: "Console") -> "Answer":
    """Read what the run wrote, if it is unchanged; its verdict is the exit code."""
    from compress.pipeline.finished import shown

    return shown(Path(options.run), console)
