"""How much an INT8 answer hangs on the last bits of float operators within the network.

Where a part of a network computes in float, another library's last bit may start a step
elsewhere once the result is rounded to INT8. Such an image is no test of a device.
"""

from typing import Final

import torch
from torch import Tensor, fx

from compress.int8 import kernels
from compress.int8.simulate import QuantizedNet, simulated

# Two units in the last place of float32, as libraries of functions differ.
_NOISE: Final = 2.0**-22
_DRAWS: Final = 2


def unsteadiness(net: QuantizedNet, batch: Tensor, scores: Tensor) -> Tensor:
    """How far scores move with that noise: [n], the largest of an image's.

    batch: float32 [n, 3, size, size]; scores: [n, classes], what `net` says to it.
    """
    graph = simulated(net.graph, net.scheme)
    moved = torch.zeros(len(batch))
    for seed in range(_DRAWS):
        noisy = _Noisy(graph, torch.Generator().manual_seed(seed)).run(batch)
        moved = torch.maximum(moved, (noisy - scores).abs().amax(dim=1))
    return moved


class _Noisy(fx.Interpreter):
    """Runs a simulation; what no integer kernel gave is off by its last bits.

    A value on a grid is recovered by the kernel that reads it, so that noise on what
    merely moves such values does nothing.
    """

    def __init__(self, graph: fx.GraphModule, draw: torch.Generator) -> None:
        super().__init__(graph)
        self._draw = draw

    def run_node(self, n: fx.Node) -> object:
        """One operator."""
        found = super().run_node(n)
        whole = getattr(n.target, "__module__", "") == kernels.__name__
        if n.op != "call_function" or whole or not isinstance(found, Tensor):
            return found
        if not found.is_floating_point():
            return found
        sign = torch.randint(0, 2, found.shape, generator=self._draw) * 2 - 1
        return found * (1 + _NOISE * sign)
