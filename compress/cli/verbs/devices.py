"""`compress devices`: the boards that `--device NAME` means, and whether they answer.

The inventory is a file in your configuration; a board needs a key of yours, a host key
that this machine knows, and Python 3.10 or newer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runtime.errors import Exit, RecipeError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from compress.context.answer import Facts
    from compress.context.console import Console
    from compress.devices.checking import Checked

EXAMPLES: Final = (
    "compress devices add pi5 ssh://pi@raspberrypi.local",
    "compress devices check pi5",
    "compress devices ls",
)
_USAGE: Final = {
    "add": "NAME ssh://user@host[:port]",
    "ls": "",
    "check": "[NAME …]",
    "remove": "NAME",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags: what to do, with which board, and how its Python is called."""
    parser.usage = "compress devices add|ls|check|remove [NAME …] [options]"
    parser.add_argument(
        "action",
        choices=tuple(_USAGE),
        help="add: write a board down (NAME ssh://user@host[:port]); ls: list them; "
        "check: reach them (all, or those named), and say what each is and lacks; "
        "remove: strike one out",
    )
    parser.add_argument("words", nargs="*", metavar="NAME", help="see above")
    parser.add_argument(
        "--python",
        metavar="PATH",
        help="of add: the interpreter there, a path is relative to the home there "
        "(default: python3)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="of add: what ssh reads instead of ~/.ssh/config",
    )


def execute(options: argparse.Namespace, console: Console) -> Facts | Checked:
    """Do what `options.action` says."""
    action, words = options.action, options.words
    if action != "add" and (options.python or options.config):
        raise RecipeError(f"--python and --config are for add, not for {action}")
    least, most = {"add": (2, 2), "ls": (0, 0), "check": (0, None), "remove": (1, 1)}[
        action
    ]
    if len(words) < least or (most is not None and len(words) > most):
        raise RecipeError(
            f"devices {action}: {len(words)} words follow; allowed: "
            f"`compress devices {action} {_USAGE[action]}`".rstrip()
        )
    match action:
        case "add":
            return _added(words[0], words[1], options)
        case "ls":
            return _listed()
        case "remove":
            return _removed(words[0])
        case _:
            return _checked(words, console)


def _added(name: str, url: str, options: argparse.Namespace) -> Facts:
    """Write a board down."""
    from pathlib import Path

    from compress.context.answer import Facts
    from compress.devices.address import Address
    from compress.devices.inventory import Board, add

    config = options.config
    if config is not None and not Path(config).is_file():
        raise RecipeError(f"--config {config}: no such file")
    board = Board(
        name=name,
        address=Address.read(url),
        python=options.python or "python3",
        ssh_config=None if config is None else str(Path(config).absolute()),
    )
    before = add(board)
    moved = before is not None and before.address != board.address
    was = f" (it was {before.address})" if before and moved else ""
    return Facts(
        text=f"{name} is {board.address}{was}; `compress devices check {name}` "
        "says whether it answers",
        facts={"name": name, **board.as_record()},
    )


def _listed() -> Facts:
    """Every board of the inventory."""
    from compress.context.answer import Facts
    from compress.devices.inventory import boards, inventory_file

    found = boards()
    widest = max(map(len, found), default=0)
    lines = [
        f"{name:<{widest}}  {board.address}  {board.python}"
        for name, board in found.items()
    ]
    empty = "no devices yet; `compress devices add NAME ssh://user@host` adds one"
    return Facts(
        text="\n".join(lines) or empty,
        facts={
            "inventory": str(inventory_file()),
            "devices": [{"name": n, **b.as_record()} for n, b in found.items()],
        },
    )


def _removed(name: str) -> Facts:
    """Strike a board out."""
    from compress.context.answer import Facts
    from compress.devices.inventory import remove

    board = remove(name)
    return Facts(
        text=f"{name} is gone from the inventory; what was copied stays on "
        f"{board.address} in ~/.cache/edgepress",
        facts={"name": name, **board.as_record()},
        exit_code=Exit.FIT,
    )


def _checked(names: Sequence[str], console: Console) -> Checked:
    """Reach boards, all at once."""
    from compress.devices.checking import checked
    from compress.devices.inventory import boards, unknown

    known = boards()
    for name in names:
        if name not in known:
            raise unknown(name, known)
    return checked([known[name] for name in names or known], console)
