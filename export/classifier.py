"""What can be exported: a network that maps images to one score a class."""

import copy

import torch
from torch import Tensor, nn

from runtime.errors import InputRejectedError, one_line


def frozen(net: nn.Module) -> nn.Module:
    """Copy `net` to the CPU, in eval mode, in float32, in torch's default layout."""
    copied = copy.deepcopy(net).cpu().float().eval().requires_grad_(False)
    for each in (*copied.parameters(), *copied.buffers()):
        each.data = each.data.contiguous()
    return copied


def check_answer(
    net: nn.Module, images: Tensor, *, classes: tuple[str, ...], name: str
) -> None:
    """Refuse a network that does not map images to one score a class."""
    wanted = (len(images), len(classes))
    try:
        with torch.inference_mode():
            answer = net(images)
    except Exception as error:  # a network is free to raise anything
        raise InputRejectedError(
            f"export: {name} does not take images of shape {list(images.shape)}: "
            f"{one_line(error)}; choose another --size"
        ) from error
    if not isinstance(answer, Tensor) or tuple(answer.shape) != wanted:
        found = (
            f"a tensor of shape {list(answer.shape)}"
            if isinstance(answer, Tensor)
            else f"a {type(answer).__name__}"
        )
        raise InputRejectedError(
            f"export: {name} answers {list(images.shape)} with {found}, expected "
            f"logits {list(wanted)}, one a class; only classifiers can be exported"
        )
