"""Callbacks: what takes part in a training beside the loss, one protocol for all."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn


class Callback:
    """A part of a training; by default it does nothing.

    until: the share of the training, 0 to 1, up to which it changes what flows through
    the network otherwise than by learning.
    """

    until: float = 0.0

    def before_step_(self, net: nn.Module, share: float) -> None:
        """Change `net` before a step, when `share` of the training is over."""

    def penalty(self, net: nn.Module) -> Tensor | None:
        """A regularizer: a scalar to add to the loss for the weights of `net`."""

    def end_(self, net: nn.Module) -> None:
        """Change `net`, as it is handed back, after the last step."""

    def as_record(self) -> Mapping[str, object]:
        """What it depends on, as plain data: a training resumes under the same only."""
        return {}


def with_penalties(
    loss: Tensor, callbacks: Iterable[Callback], net: nn.Module
) -> Tensor:
    """`loss` and what the callbacks charge for the weights of `net`."""
    for each in callbacks:
        charged = each.penalty(net)
        loss = loss if charged is None else loss + charged
    return loss
