"""What to install on a board, as commands that work there, whatever its pip allows."""

import shlex
from typing import Final

from compress.devices.inventory import Board
from compress.devices.visit import Greeting
from runtime.backends.table import distributions
from runtime.errors import MissingDependencyError

# The environment that is proposed, in the home there, and what makes one on Debian.
_FOLDER: Final = "edgepress-venv"
_VENV: Final = "sudo apt-get update && sudo apt-get install -y python3-venv"


def missing_there(
    board: Board, greeting: Greeting, error: MissingDependencyError
) -> MissingDependencyError:
    """The error that a board answered with, and how to install it there from here."""
    told, _, packages = str(error).partition("; run: pip install ")
    if not packages:
        return error
    line = install_line(board, greeting, shlex.split(packages))
    return MissingDependencyError(f"{told}; run: {line}")


def install_line(board: Board, greeting: Greeting, packages: list[str]) -> str:
    """The command, typed here, that installs `packages` for the Python of a board.

    Debian's own Python refuses pip (PEP 668); there an environment is made.
    """
    names = shlex.join(packages)
    to = board.address
    if not greeting.managed:
        far = f"{shlex.quote(greeting.python)} -m pip install {names}"
        return f"ssh {to.words} {shlex.quote(far)}"
    first = "" if greeting.venv else f"{_VENV} && "
    far = f"{first}python3 -m venv {_FOLDER} && {_FOLDER}/bin/pip install {names}"
    again = f"compress devices add {board.name} {to} --python {_FOLDER}/bin/python"
    return f"ssh -t {to.words} {shlex.quote(far)} && {again}"


def lacking(greeting: Greeting) -> list[str]:
    """What a board lacks to run model files; without an interpreter, one a format."""
    has = set(greeting.modules)
    found = [] if "numpy" in has else ["numpy"]
    interpreters = [] if has & {*distributions()} else ["onnxruntime", "ai-edge-litert"]
    return [*found, *interpreters]
