"""Why a network cannot be exported: torch's pages of explanation, as one sentence."""

import re
import sysconfig
import traceback
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from export.culprit import culprit
from runtime.errors import one_line

_TORCH: Final = Path(torch.__file__).parent
_OURS: Final = Path(__file__).parent
_STDLIB: Final = Path(sysconfig.get_paths()["stdlib"])
# Installed networks; whatever else is installed is a tool.
_NETWORKS: Final = ("timm", "torchvision")
# What torch's and the converters' messages say, and what that means to the owner of a
# network.
_MEANINGS: Final = {
    "data-dependent": "it decides by the values of a tensor, which a graph cannot; "
    "write the decision as arithmetic, such as torch.where",
    "Constraints violated": "it fixes the number of images it takes; export with a "
    "static batch, or replace the fixed number by x.shape[0]",
    "No ONNX function found": "ONNX has no such operator; replace it by others",
    "Lowering not found": "TFLite's converter does not know it; replace it by others, "
    "or export to ONNX",
    "failed to legalize": "TFLite has no operator for it; replace it by others, or "
    "export to ONNX",
    "non-NHWC compatible": "TFLite's converter cannot lay it out with channels last; "
    "replace it by others, or export to ONNX",
    "torch.complex": "TFLite's converter takes no complex numbers; replace it by "
    "others, or export to ONNX",
}


def refusal(
    error: BaseException,
    *,
    name: str,
    net: nn.Module | None = None,
    image: Tensor | None = None,
) -> str:
    """Say in one sentence which layer, line or operator of network `name` is to blame.

    net, image: what was traced, for which layer an operator belongs to.
    """
    chain = list(_causes(error))
    # A KeyError shows its text as Python would write it, line breaks and all.
    texts = [str(each).replace("\\n", "\n") for each in chain]
    found = (
        meaning
        for mark, meaning in _MEANINGS.items()
        if any(mark in text for text in texts)
    )
    reason = next(found, one_line(Exception(_without_pages(texts[-1]))))
    guilty = culprit("\n".join(texts), net, image) if image is not None else None
    at = f" because of {guilty}" if guilty else _line(chain)
    return f"export: {name} cannot be exported{at}: {reason}"


def _without_pages(text: str) -> str:
    """What torch appends to a message, such as the graph's own traceback, left out."""
    return re.split(r"\s*(?:While executing %|Original traceback:)", text)[0] or text


def _causes(error: BaseException) -> list[BaseException]:
    """Give the error and what caused it, the root last."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def _is_theirs(file: Path) -> bool:
    """Whether a line of `file` belongs to the network rather than to a tool."""
    tool = file.is_relative_to(_TORCH) or file.is_relative_to(_OURS)
    if "site-packages" in file.parts:
        package = file.parts[file.parts.index("site-packages") + 1]
        tool = tool or package not in _NETWORKS
    elif file.is_relative_to(_STDLIB):
        tool = True
    return file.is_file() and not tool


def _line(chain: list[BaseException]) -> str:
    """Find the innermost line of the network."""
    for error in reversed(chain):
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            file = Path(frame.filename)
            if _is_theirs(file):
                code = f" ({frame.line})" if frame.line else ""
                return f" because of {file.name}, line {frame.lineno}{code}"
    return ""
