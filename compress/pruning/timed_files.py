"""Files of a network at any widths, in the numbers that are shipped, to be timed.

An INT8 network is quantized on noise: kernels take as long with any numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.simulate import QuantizedNet, with_qdq
from compress.pruning.cutting import cut
from compress.pruning.resizing import NotResizableError, resized
from compress.quantization.ptq import Methods, quantized
from export.onnx.lower import lowered
from export.to_onnx import qdq_model
from runtime.machine import this_machine
from runtime.target import int8_target

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from compress.context.aim import Aim
    from compress.pruning.latency import Make
    from compress.pruning.layout import Kept, Layout

_QUICK = Methods(ranges="minmax", equalize=False, correct_bias="none")


@dataclass(frozen=True, kw_only=True)
class TimedFiles:
    """ONNX models of a network as this machine runs them; batch 1."""

    size: int
    name: str
    aim: Aim

    def whole(self, net: nn.Module) -> onnx.ModelProto:
        """A network as it would be shipped to this machine."""
        return self._finished(self._exported(net))

    def maker(self, net: nn.Module, layout: Layout) -> Make:
        """What makes `net`'s model at any widths: one export, then only new sizes.

        Networks whose other operators hang on widths are exported each time.
        """
        base = self._exported(net)

        def make(kept: Kept) -> onnx.ModelProto:
            try:
                return self._finished(resized(base, layout.layers(kept)))
            except NotResizableError:
                return self.whole(narrowed(net, layout, kept))

        return make

    def _exported(self, net: nn.Module) -> onnx.ModelProto:
        """Its model, with Q and DQ where INT8 is shipped."""
        if self.aim.dtype == "int8":
            made = on_noise(net, size=self.size, name=self.name)
            net = with_qdq(made.graph, made.scheme)
        return qdq_model(net, size=self.size, name=self.name, batch="static")

    def _finished(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The model as this machine's kernels want it."""
        if self.aim.dtype == "int8":
            return lowered(model, int8_target(this_machine()))
        return model


def on_noise(net: nn.Module, *, size: int, name: str) -> QuantizedNet:
    """`net` quantized on one image of noise: for its kernels, not for its answers."""
    graph = captured(net, size=size, name=name)
    canonical_(graph)
    rng = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, size, size, generator=rng)
    return quantized(graph, lambda: [image], methods=_QUICK)


def narrowed(net: nn.Module, layout: Layout, kept: Kept) -> nn.Module:
    """`net` at these widths; the last units go, as if they were the least."""
    gone = [full - units for full, units in zip(layout.full, kept, strict=True)]
    chosen = {
        index: range(full - units, full)
        for index, (full, units) in enumerate(zip(layout.full, gone, strict=True))
        if units
    }
    return cut(net, layout.groups, chosen)
