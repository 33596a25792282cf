"""A kernel cost model: what layers take at any widths, told without timing anything.

It is crude, the same on every run, and knows what multiply-accumulates leave out:
kernels compute whole blocks of channels, depthwise layers are slow for their number of
multiplications, small maps wait for weights, and every call costs something. A budget
of MACs is spent by it, so that what is saved is saved in time as well.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from compress.context.aim import Aim
from compress.pruning.layout import Kept, Layer, Layout
from runtime.machine import Machine, this_machine

# Multiply-accumulates, numbers written and weights read in a microsecond on one core
# with AVX-512 (ONNX Runtime 1.32, float32); other machines differ more in speed than in
# what is dear among the layers.
_MACS: Final = 50e3
_DEPTHWISE_MACS: Final = 8e3
_NUMBERS: Final = 6e3
_WEIGHTS: Final = 4e3
_CALL_US: Final = 3.0
# INT8 has a quarter of the bytes, and multiplies three times as many at once; what is
# done channel by channel gains less (MobileNets; ResNet-50 as a whole 3.5x).
_INT8_MACS: Final = 3.0
_INT8_WEIGHTS: Final = 4.0
# Of what MACs promise (in logarithms), the least that is worth no remark.
_WORTH: Final = 0.75


@dataclass(frozen=True, kw_only=True)
class KernelCost:
    """Microseconds of a layer; block: channels that kernels compute at a time."""

    block: int
    int8: bool = False

    def __call__(self, layer: Layer) -> float:
        """One layer, as it would run on one thread."""
        places = layer.height * layer.width
        window = layer.kernel[0] * layer.kernel[1]
        outputs = self._padded(layer.outputs)
        written = outputs * places / _NUMBERS
        if layer.groups > 1:
            macs = outputs * places * window * (layer.inputs // layer.groups)
            return macs / _DEPTHWISE_MACS + written + _CALL_US
        weights = outputs * self._padded(layer.inputs) * window
        more = _INT8_MACS if self.int8 else 1.0
        read = weights / (_WEIGHTS * (_INT8_WEIGHTS if self.int8 else 1.0))
        return weights * places / (_MACS * more) + written + read + _CALL_US

    def _padded(self, channels: int) -> int:
        """Channels in whole blocks; few ones, an image's, are read as they are."""
        if channels < self.block:
            return channels
        return -(-channels // self.block) * self.block


def little_gained(layout: Layout, kept: Kept, cost: KernelCost) -> str | None:
    """A sentence where a cut saves much less time than MACs, as on small images."""
    macs = layout.macs(layout.full) / layout.macs(kept)
    whole, cut = (sum(map(cost, layout.layers(at))) for at in (layout.full, kept))
    if macs <= 1 or math.log(whole / cut) >= _WORTH * math.log(macs):
        return None
    return (
        f"prune: {macs:.2f}x fewer MACs are about {whole / cut:.2f}x less time here: "
        "calls and blocks of channels cost the same however small maps and layers are; "
        "larger images or --latency gain more"
    )


def cost_for(aim: Aim, device: Callable[[str], Machine]) -> KernelCost:
    """The model of the kernels that a run's files are for; `device` finds a machine."""
    machine = this_machine() if aim.device is None else device(aim.device)
    wide = "avx512f" in machine.features or aim.dtype == "int8"
    return KernelCost(block=16 if wide else 8, int8=aim.dtype == "int8")
