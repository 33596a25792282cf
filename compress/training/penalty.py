"""What a training may charge for the weights as such, whatever they answer."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn


class Penalty(Protocol):
    """What is added to the loss for the weights as such."""

    def __call__(self, net: nn.Module) -> Tensor:
        """A scalar that depends on parameters of `net`."""
        ...

    def as_record(self) -> Mapping[str, object]:
        """What it depends on, as plain data."""
        ...
