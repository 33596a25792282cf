"""Which operators harm the answer most in INT8, by leaving one at a time in float."""

from typing import Final

import torch

from compress.context.progress import passed
from compress.int8.float_operators import macs_of
from compress.int8.simulate import QuantizedNet
from compress.quantization.calibrate import Batches
from compress.quantization.evaluator import sqnr_of
from compress.quantization.output_sensitivity import evenly

_IMAGES: Final = 8
# Decibels won that are worth as much as all of the work done in float instead.
_PRICE_DB: Final = 6.0


def most_harmful(net: QuantizedNet, images: Batches) -> tuple[str, ...]:
    """Weighted operators, first the one whose return to float gains most for its cost.

    The gain is the signal to noise of the logits on a few images, in decibels; the cost
    is its share of the multiply-accumulates.
    """
    shown = torch.cat(evenly(images, _IMAGES))
    macs = macs_of(net)
    total = sum(macs.values()) or 1
    with torch.inference_mode():
        want = net.graph(shown)
        usual = sqnr_of(want, net(shown))
        gains = {
            name: sqnr_of(want, _without(net, name)(shown))
            - usual
            - _PRICE_DB * cost / total
            for name, cost in passed("trying operators in float", macs.items())
        }
    return tuple(sorted(gains, key=lambda name: -gains[name]))


def _without(net: QuantizedNet, name: str) -> QuantizedNet:
    """The same network with one operator in float."""
    return QuantizedNet(net.graph, net.scheme.without(frozenset({name})))
