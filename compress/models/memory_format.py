"""The memory format of a network's tensors: channels last wherever it can take that."""

import copy

import torch
from torch import nn

# Two images: of a single one, every memory format of a 1x1 map looks alike.
_IMAGES = 2


def memory_format_of(net: nn.Module, *, size: int) -> torch.memory_format:
    """torch.channels_last, which convolutions are faster in, if `net` works with it.

    `x.view(x.size(0), -1)` on a feature map asks for contiguous memory, and a network
    that says so can only be fed that. Nobody sees it without a trial, so there is one,
    of images of `size` pixels in evaluation and in training; `net` stays as it is. The
    strides of tensors without memory are not those of a CPU, so it takes numbers.
    """
    for training in (False, True):
        if _works(net, size, torch.channels_last, training=training):
            continue
        if _works(net, size, torch.contiguous_format, training=training):
            return torch.contiguous_format
    # What fails either way fails for another reason, told better by who meets it.
    return torch.channels_last


def _works(
    net: nn.Module, size: int, layout: torch.memory_format, *, training: bool
) -> bool:
    """Whether a copy of `net` takes images in a memory format."""
    shadow = copy.deepcopy(net).train(training)
    shadow.to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.zeros(_IMAGES, 3, size, size).contiguous(memory_format=layout)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            shadow(images)
    except Exception:  # noqa: BLE001  # a network is free to raise anything
        return False
    return True
