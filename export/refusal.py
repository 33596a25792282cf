"""Why a network cannot be exported: torch's pages of explanation, as one sentence."""

import re
import sysconfig
import traceback
from pathlib import Path
from typing import Final

import torch

from runtime.errors import one_line

_TORCH: Final = Path(torch.__file__).parent
_OURS: Final = Path(__file__).parent
_STDLIB: Final = Path(sysconfig.get_paths()["stdlib"])
# What torch's messages say, and what that means to the owner of a network.
_MEANINGS: Final = {
    "data-dependent": "it decides by the values of a tensor, which a graph cannot; "
    "write the decision as arithmetic, such as torch.where",
    "Constraints violated": "it fixes the number of images it takes; export with a "
    "static batch, or replace the fixed number by x.shape[0]",
    "No ONNX function found": "ONNX has no such operator; replace it by others",
}


def refusal(error: BaseException, *, name: str) -> str:
    """Say in one sentence which line or operator of network `name` is to blame."""
    chain = list(_causes(error))
    texts = [str(each) for each in chain]
    found = (
        meaning
        for mark, meaning in _MEANINGS.items()
        if any(mark in text for text in texts)
    )
    reason = next(found, one_line(Exception(texts[-1])))
    operator = next(filter(None, map(_operator, texts)), None)
    at = f" because of the operator {operator}" if operator else _line(chain)
    return f"export: {name} cannot be exported{at}: {reason}"


def _causes(error: BaseException) -> list[BaseException]:
    """Give the error and what caused it, the root last."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def _operator(text: str) -> str | None:
    """Find the operator that has no translation."""
    match = re.search(r"OpOverload\(op='([^']+)'", text)
    return match[1] if match else None


def _is_theirs(file: Path) -> bool:
    """Whether a line of `file` belongs to the network rather than to a tool."""
    tool = file.is_relative_to(_TORCH) or file.is_relative_to(_OURS)
    stdlib = file.is_relative_to(_STDLIB) and "site-packages" not in file.parts
    return file.is_file() and not tool and not stdlib


def _line(chain: list[BaseException]) -> str:
    """Find the innermost line of the network."""
    for error in reversed(chain):
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            file = Path(frame.filename)
            if _is_theirs(file):
                code = f" ({frame.line})" if frame.line else ""
                return f" because of {file.name}, line {frame.lineno}{code}"
    return ""
