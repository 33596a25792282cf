"""Gradients of the loss at a network's weights, for criteria that ask what it feels."""

import copy
from collections.abc import Iterable

from torch import Tensor, nn

from compress.training.losses import classification_loss


def gradients_of(
    net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """The gradient of cross-entropy by parameter, summed over `batches`.

    batches: images float32 [n, 3, size, size] and labels int64 [n]; the network answers
    as in use, its norms by their statistics, and is left as it is.
    """
    asked = copy.deepcopy(net).eval().requires_grad_(True)
    for images, labels in batches:
        loss = classification_loss(asked(images), labels, label_smoothing=0.0)
        loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no types
    return {
        name: parameter.grad
        for name, parameter in asked.named_parameters()
        if parameter.grad is not None
    }
