"""What is to become zero, and how a network gets there while it trains."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from compress.sparsity.masks import Masks, Scope, apply_, by_magnitude, n_of_m
from compress.sparsity.schedule import cubic

# Masks are drawn anew so often on the way; more would cost time and change nothing
# (Zhu and Gupta 2017 do it every 100 to 1000 steps).
_MOVES: Final = 100


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Zeros among the weights `names`: their share, and where they may lie.

    of: None for any place; else every `of` neighboring inputs hold the same number of
    zeros. block: outputs whose weights stay or go together.
    """

    names: tuple[str, ...]
    sparsity: float
    scope: Scope = "global"
    of: int | None = None
    block: int = 1

    @property
    def pattern(self) -> str:
        """The places of the zeros in a word, as a model's record keeps it."""
        if self.of is not None:
            return f"{self.kept(self.sparsity)}:{self.of}"
        return "unstructured" if self.block == 1 else f"blocks of {self.block}"

    def kept(self, sparsity: float) -> int:
        """How many of each `of` weights stay at about `sparsity`."""
        return 0 if self.of is None else self.of - round(sparsity * self.of)

    def masks(self, net: nn.Module, sparsity: float) -> Masks:
        """Masks for `sparsity`, which may be less than the goal's."""
        weights = {name: net.get_parameter(name) for name in self.names}
        if self.of is not None:
            kept = self.kept(sparsity)
            return {
                name: n_of_m(weight, kept=kept, of=self.of)
                for name, weight in weights.items()
            }
        return by_magnitude(
            weights, sparsity=sparsity, scope=self.scope, block=self.block
        )

    def zeros(self, net: nn.Module, sparsity: float) -> int:
        """How many zeros those masks leave at least."""
        sizes = [net.get_parameter(name).numel() for name in self.names]
        if self.of is not None:
            return sum(sizes) * (self.of - self.kept(sparsity)) // self.of
        parts = sizes if self.scope == "layer" else [sum(sizes)]
        return sum(round(sparsity * (n // self.block)) * self.block for n in parts)


@dataclass(frozen=True, kw_only=True)
class SparsitySchedule:
    """The way to `goal` in the first part of a training, up to the share `until`."""

    goal: Goal
    until: float

    def reach_(self, net: nn.Module, share: float) -> None:
        """Set to zero what must be gone after `share` of the training, 0 to 1.

        What is zero has no magnitude and goes first, so zeros are only ever added, and
        nothing has to be remembered between calls.
        """
        way = 1.0 if share >= self.until else share / self.until
        wanted = cubic(int(way * _MOVES) / _MOVES, self.goal.sparsity)
        found = zeros_in(net.get_parameter(name) for name in self.goal.names)
        if found < self.goal.zeros(net, wanted):
            apply_(net, self.goal.masks(net, wanted))


def zeros_in(weights: Iterable[Tensor]) -> int:
    """How many numbers of some tensors are zero."""
    return sum(each.numel() - int(each.detach().count_nonzero()) for each in weights)


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """The weights of every convolution and linear layer, by name; no bias, no norm."""
    return {
        f"{name}.weight": module.weight
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
