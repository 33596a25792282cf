"""What a network would be if its groups kept so many units: layers, and what they cost.

Counted from the widths alone, so that a search may ask thousands of times; what counts
otherwise, a table of latencies for instance, is given the same layers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from compress.evaluation.costs import count_macs, count_params
from compress.models import meta

if TYPE_CHECKING:
    from compress.pruning.budget import Cost
    from compress.pruning.group import Group
    from compress.recipe.prune import Prune

# How many units each group keeps, in the order of the groups.
Kept = Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution or linear layer at work: what a kernel has to know of it.

    kernel, stride: along height and width; height, width: of what it gives, 1 and 1
    for a linear layer on one vector, 1 and n on n of them.
    """

    name: str
    inputs: int
    outputs: int
    groups: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    height: int
    width: int
    biased: bool

    @property
    def weights(self) -> int:
        """Parameters, the bias included."""
        kernel = self.kernel[0] * self.kernel[1]
        bias = self.outputs if self.biased else 0
        return self.outputs * (self.inputs // self.groups) * kernel + bias

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        bias = self.outputs if self.biased else 0
        return (self.weights - bias) * self.height * self.width


class Layout:
    """A network's layers as functions of how much its groups keep."""

    def __init__(self, net: nn.Module, groups: Sequence[Group], *, size: int) -> None:
        """`groups` of `net`, at work on [1, 3, size, size]."""
        from compress.evaluation.costs import count_macs, count_params

        self.groups = groups
        self.whole = _layers(net, size)
        self.full = tuple(group.units for group in groups)
        self.unit = tuple(group.unit_channels for group in groups)
        # Of each place: its groups, and how many channels one of their units has there.
        self._places: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
        # What a unit holds beside the layers: norms, their statistics, free parameters.
        self._params = [0.0] * len(groups)
        self._numbers = [0.0] * len(groups)
        layers = {layer.name for layer in self.whole}
        for index, group in enumerate(groups):
            for place, of_unit in group.places.items():
                channels = sum(map(len, of_unit)) / group.units
                if place[0] in layers:
                    self._places[place].append((index, channels))
                else:
                    params, numbers = _per_channel(net, place[0], group)
                    self._params[index] += params * channels
                    self._numbers[index] += numbers * channels
        weights = sum(layer.weights for layer in self.whole)
        numbers = sum(t.numel() for t in (*net.parameters(), *net.buffers()))
        # What does not depend on widths as layers do: attention, other parameters.
        self._rest_macs = count_macs(net, size=size) - sum(
            layer.macs for layer in self.whole
        )
        self._rest_params = count_params(net) - weights
        self._rest_numbers = numbers - weights

    def layers(self, kept: Kept) -> tuple[Layer, ...]:
        """Every layer, in the order of the forward pass, at these widths."""
        return tuple(self.at(layer, kept) for layer in self.whole)

    def macs(self, kept: Kept) -> float:
        """Multiply-accumulates for one image."""
        return self._rest_macs + sum(layer.macs for layer in self.layers(kept))

    def params(self, kept: Kept) -> float:
        """Learnt numbers."""
        return self._held(kept, self._rest_params, self._params)

    def bytes(self, kept: Kept) -> float:
        """Parameters and buffers in float32, as the costs_of counts them."""
        held = self._held(kept, self._rest_numbers, self._numbers)
        return held * torch.float32.itemsize

    def _held(self, kept: Kept, rest: float, of_unit: Sequence[float]) -> float:
        """Numbers in layers, and in what goes with their channels."""
        gone = sum(
            each * (full - left)
            for each, full, left in zip(of_unit, self.full, kept, strict=True)
        )
        return rest - gone + sum(layer.weights for layer in self.layers(kept))

    def at(self, layer: Layer, kept: Kept) -> Layer:
        """One of the `whole` layers at these widths."""
        gone = {
            side: round(
                sum(
                    channels * (self.full[index] - kept[index])
                    for index, channels in self._places.get((layer.name, side), ())
                )
            )
            for side in ("in", "out")
        }
        inputs, outputs = layer.inputs - gone["in"], layer.outputs - gone["out"]
        if layer.groups == 1:
            return replace(layer, inputs=inputs, outputs=outputs)
        # Whole groups go, so that those left are as they were.
        groups = outputs * layer.groups // layer.outputs
        inputs = groups * (layer.inputs // layer.groups)
        return replace(layer, inputs=inputs, outputs=outputs, groups=groups)


def _layers(net: nn.Module, size: int) -> tuple[Layer, ...]:
    """Convolutions and linear layers as they run on one image."""
    seen: dict[str, Layer] = {}
    shadow = meta.on_meta(net)

    def watch(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, __: object, answer: Tensor) -> None:
            seen[name] = _layer(name, module, answer)

        module.register_forward_hook(hook)

    for name, module in shadow.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            watch(name, module)
    with torch.no_grad(), meta.evaluating(shadow):
        shadow(meta.images(1, size))
    return tuple(seen.values())


def _layer(name: str, module: nn.Module, answer: Tensor) -> Layer:
    """What one module does, judged by what it gave."""
    if isinstance(module, nn.Conv2d):
        return Layer(
            name=name,
            inputs=module.in_channels,
            outputs=module.out_channels,
            groups=module.groups,
            kernel=(module.kernel_size[0], module.kernel_size[1]),
            stride=(module.stride[0], module.stride[1]),
            height=answer.shape[-2],
            width=answer.shape[-1],
            biased=module.bias is not None,
        )
    if not isinstance(module, nn.Linear):  # pragma: no cover  # nothing else is watched
        raise TypeError(type(module).__name__)
    return Layer(
        name=name,
        inputs=module.in_features,
        outputs=module.out_features,
        groups=1,
        kernel=(1, 1),
        stride=(1, 1),
        height=1,
        width=answer.numel() // module.out_features,
        biased=module.bias is not None,
    )


def _per_channel(net: nn.Module, name: str, group: Group) -> tuple[int, int]:
    """Parameters, and all numbers, that a module has for one channel."""
    if name in group.axis:
        free = net.get_parameter(name)
        each = free.numel() // free.shape[group.axis[name]]
        return each, each
    module = net.get_submodule(name)
    params = [p for p in module.parameters(recurse=False) if p.dim() == 1]
    buffers = [b for b in module.buffers(recurse=False) if b.dim() == 1]
    return len(params), len(params) + len(buffers)


def asked_for(
    options: Prune, whole: nn.Module, layout: Layout, *, size: int
) -> tuple[Cost, float, str]:
    """What a recipe counts, how much of it there may be, and its unit."""
    if options.macs is not None:
        most = so_many(options.macs, count_macs(whole, size=size))
        return layout.macs, most, " MACs"
    if options.params is not None:
        most = so_many(options.params, count_params(whole))
        return layout.params, most, " parameters"
    if options.size_mb is not None:
        return layout.bytes, options.size_mb * 1e6, " bytes"
    raise TypeError("no budget")  # pragma: no cover  # the recipe has seen to it


def so_many(asked: float, there: int) -> float:
    """What was asked for, a share of what is `there` or a count."""
    return asked * there if asked < 1 else asked
