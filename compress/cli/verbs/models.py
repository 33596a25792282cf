"""`compress models [PATTERN]`: architectures with their parameters and MACs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runtime.errors import RecipeError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from compress.context.answer import Facts
    from compress.context.console import Console
    from compress.models.zoo import Listed


EXAMPLES: Final = ("compress models mobilenet",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is listed."""
    parser.add_argument(
        "pattern",
        nargs="?",
        metavar="PATTERN",
        help="part of a name, or a shell pattern like 'resnet*d'; also finds the "
        "architectures of timm and torchvision beyond the list",
    )


def execute(options: argparse.Namespace, console: Console) -> Facts:
    """List what matches; raises RecipeError where nothing does."""
    from compress.context.answer import Facts
    from compress.evaluation.listing import list_models

    rows = list_models(options.pattern, console=console)
    if not rows:
        raise RecipeError(
            f"models: no architecture matches {options.pattern!r}; "
            "`compress models` lists the usual ones, and '*' means any text"
        )
    return Facts(text=_table(rows), facts=[row._asdict() for row in rows])


def _table(rows: Sequence[Listed]) -> str:
    """At most 80 columns: name, millions of parameters and MACs, input, library."""
    head = f"{'name':<36}{'params (M)':>12}{'MACs (M)':>11}{'input':>7}  source"
    lines = [
        f"{row.name:<36}{row.params / 1e6:>12.3f}{row.macs / 1e6:>11.1f}"
        f"{row.input_size:>7}  {row.source}"
        for row in rows
    ]
    return "\n".join((head, *lines))
