"""Whether an architecture from a record is as large as the weights it came with."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from compress.models.construct import skeleton
from compress.models.spec import ModelSpec
from compress.models.surgery.record import UNTOUCHED
from runtime.errors import InputRejectedError

# A network that was cut is built whole first, and may have been twenty times as large;
# the largest that people prune by more are smaller than this (VGG-19: 144 million).
_CUT_FROM = 20
_WHOLE = 150_000_000
# Folded batch norms and integer weights leave a little less than the architecture has.
_SPARE = 2
_SLACK = 1_000_000


def check_proportion(
    spec: ModelSpec, *, classes: int, size: int, tensors: Path
) -> None:
    """Refuse a record whose architecture has far more weights than the file beside it.

    A multiplier of widths is a few digits, and would cost gigabytes to build. Shapes
    are counted without memory. A network of the user's own is not: its code is trusted.
    """
    if spec.code is not None:
        return
    stored = _stored(tensors)
    whole = _parameters(spec.with_surgery(UNTOUCHED), classes=classes, size=size)
    left = whole
    if spec.surgery != UNTOUCHED and whole <= _CUT_FROM * stored + _WHOLE:
        left = _parameters(spec, classes=classes, size=size)
    if whole > _CUT_FROM * stored + _WHOLE or left > _SPARE * stored + _SLACK:
        raise InputRejectedError(
            f"describes a network of {left} weights, and {tensors.name} "
            f"beside it holds {stored}; one of the two was changed: run the stage again"
        )


def _parameters(spec: ModelSpec, *, classes: int, size: int) -> int:
    """How many numbers the state of an architecture has; nothing is computed."""
    with torch.device("meta"):
        net = skeleton(spec, classes=classes, size=size)
    return sum(tensor.numel() for tensor in net.state_dict().values())


def _stored(path: Path) -> int:
    """How many numbers a safetensors file holds, by its header."""
    try:
        with safe_open(path, framework="pt") as stream:
            names = list(stream.keys())
            shapes = [stream.get_slice(name).get_shape() for name in names]
    except (SafetensorError, OSError, ValueError) as error:
        raise InputRejectedError(
            f"{path}: not a whole safetensors file: {error}"
        ) from error
    return sum(torch.Size(shape).numel() for shape in shapes)
