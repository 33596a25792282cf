"""A convolution or linear layer that learns while its weights are rounded to INT8.

Batch normalization is folded into the weights before they are rounded, as the integer
kernel will have it: with the running statistics, so that the grid of the weights does
not jump with each batch. As long as statistics are gathered, what the layer gives is
normalized by those of the batch all the same (Krishnamoorthi 2018, section 3.2.2).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, fx, nn

from compress.int8.capture import ATEN, parameter
from compress.int8.grids import roomy_scales, weight_scales
from compress.int8.norms import BATCH_NORM, layer_normalized
from compress.int8.operators import bias_of, weight_of
from compress.quantization.fake_quantize import (
    Pass,
    fake_quantized_bias,
    fake_quantized_weight,
)

if TYPE_CHECKING:
    from compress.training.statistics import Moments

# A channel is divided by its factor again where the batch normalizes it.
_SMALLEST: Final = 1e-6


class Norm(nn.Module):
    """Batch normalization as a scale and a shift [outputs], and how they are learnt."""

    def __init__(self, graph: fx.GraphModule, node: fx.Node) -> None:
        """Copy what a traced batch normalization reads."""
        super().__init__()
        _, weight, bias, mean, variance, momentum, epsilon = node.args
        self.momentum = cast("float", momentum)
        self.epsilon = cast("float", epsilon)
        self.register_buffer("mean", _read(graph, mean).clone())
        self.register_buffer("variance", _read(graph, variance).clone())
        ones = torch.ones_like(self.mean)
        self.weight = nn.Parameter(_read(graph, weight, ones).clone())
        self.bias = nn.Parameter(_read(graph, bias, 0 * ones).clone())
        self.pooled: Moments | None = None  # of all batches, while they are pooled

    mean: Tensor
    variance: Tensor

    def scale(self) -> Tensor:
        """What the weights are multiplied by, [outputs]."""
        return self.weight * (self.variance + self.epsilon).rsqrt()

    def by_batch(self, sums: Tensor) -> Tensor:
        """Normalize sums by their own statistics, and gather those or pool them."""
        if self.pooled is not None:
            self.pooled.add_maps(sums)
        return F.batch_norm(
            sums,
            self.mean,
            self.variance,
            self.weight,
            self.bias,
            training=True,
            momentum=self.momentum if self.pooled is None else 0.0,
            eps=self.epsilon,
        )

    def settle_(self) -> None:
        """Take the pooled statistics for those that were gathered."""
        if self.pooled is not None and self.pooled.count:
            self.mean.copy_(self.pooled.mean)
            self.variance.copy_(self.pooled.unbiased)


class Layer(nn.Module):
    """One weighted node of a canonical graph, its weights rounded as they are used."""

    def __init__(
        self,
        node: fx.Node,
        weight: Tensor,
        bias: Tensor | None,
        norm: Norm | None,
        *,
        learn_scales: bool,
    ) -> None:
        """Start with these weights; `norm` is what they are still to be folded with."""
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = None if bias is None else nn.Parameter(bias.clone())
        self.norm = norm
        # Relative to the largest weight, so that one rate suits every layer.
        ones = torch.ones(len(weight))
        self.widths = nn.Parameter(ones) if learn_scales else None
        self.linear = node.target is ATEN.linear.default
        self.geometry = () if self.linear else tuple(node.args[3:])
        self.gathers = False  # statistics of the batch, in training

    def forward(self, images: Tensor, now: Pass, source: str) -> Tensor:
        """Sums in float, of what the node `source` gave."""
        step = now.grids[source].scale
        if self.norm is not None and self.training and self.gathers:
            return self.by_batch(images, self.norm, step)
        weight, bias = self.folded()
        scales = self.scales(weight, bias, step)
        weight = fake_quantized_weight(weight, scales, learnt=self.widths is not None)
        if bias is not None:
            bias = fake_quantized_bias(bias, scales * step)
        return self.sums(images, weight, bias)

    def by_batch(self, images: Tensor, norm: Norm, step: float | Tensor) -> Tensor:
        """Sums normalized by the batch, of weights folded with running statistics."""
        scale = norm.scale().detach()
        scale = torch.where(scale.abs() < _SMALLEST, _SMALLEST, scale)
        folded = self.weight * _by_output(scale, self.weight)
        _, bias = self.folded()
        scales = self.scales(folded, bias, step)
        weight = fake_quantized_weight(folded, scales, learnt=self.widths is not None)
        shape = (-1,) if self.linear else (-1, 1, 1)
        sums = self.sums(images, weight, None) / scale.view(shape)
        if self.bias is not None:
            sums = sums + self.bias.view(shape)
        if not self.linear:
            return norm.by_batch(sums)
        return norm.by_batch(sums.flatten(0, -2)).view(sums.shape)

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias as an integer kernel gets them, before they are rounded."""
        if self.norm is None:
            return self.weight, self.bias
        scale = self.norm.scale()
        shift = self.norm.mean if self.bias is None else self.norm.mean - self.bias
        return (
            self.weight * _by_output(scale, self.weight),
            self.norm.bias - shift * scale,
        )

    def scales(
        self, folded: Tensor, bias: Tensor | None, step: float | Tensor
    ) -> Tensor:
        """The steps of folded weights, [outputs]; `step` is that of the input."""
        scales = weight_scales(folded)
        if self.widths is not None:
            scales = scales * self.widths.clamp(min=0.01)
        step = step.detach() if isinstance(step, Tensor) else step
        return scales if bias is None else roomy_scales(scales, bias, step)

    def sums(self, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Multiply and add."""
        if self.linear:
            return F.linear(images, weight, bias)
        return F.conv2d(images, weight, bias, *self.geometry)  # type: ignore[arg-type]


class Unfolded(NamedTuple):
    """A layer's weight and bias, and the normalization that comes after it."""

    norm: Norm
    weight: Tensor
    bias: Tensor | None


def unfolded(graph: fx.GraphModule) -> dict[str, Unfolded]:
    """Every layer of a traced graph that a batch normalization follows."""
    found = {}
    for node in graph.graph.nodes:
        source = layer_normalized(node) if node.target is BATCH_NORM else None
        if source is not None:
            bias = bias_of(source)
            found[source.name] = Unfolded(
                norm=Norm(graph, node),
                weight=parameter(graph, weight_of(source)).clone(),
                bias=None if bias is None else parameter(graph, bias).clone(),
            )
    return found


def layer_of(
    graph: fx.GraphModule,
    node: fx.Node,
    before: Mapping[str, Unfolded],
    *,
    learn_scales: bool,
) -> Layer:
    """The layer that a weighted node of a canonical graph becomes.

    It keeps its batch normalization where that is all that was folded into it.
    """
    weight, bias = parameter(graph, weight_of(node)), bias_of(node)
    if node.name in before:
        norm, raw, shift = before[node.name]
        layer = Layer(node, raw, shift, norm, learn_scales=learn_scales)
        folded, at = layer.folded()
        if folded.shape == weight.shape:
            # Dead filters were left out, and what they give; `dead_filters_move_on_`.
            read = weight != 0
            if torch.allclose(folded * read, weight, rtol=1e-4):
                layer.weight.data *= read
                if bias is not None and at is not None:
                    norm.bias.data += parameter(graph, bias) - at
                return layer
    shift = None if bias is None else parameter(graph, bias)
    return Layer(node, weight, shift, None, learn_scales=learn_scales)


def _by_output(factors: Tensor, weight: Tensor) -> Tensor:
    """Factors [outputs] in the shape that multiplies a weight [outputs, …]."""
    return factors.view(-1, *([1] * (weight.dim() - 1)))


def _read(
    graph: fx.GraphModule, node: object, otherwise: Tensor | None = None
) -> Tensor:
    """What a node reads, or what stands for it where there is no node."""
    if isinstance(node, fx.Node):
        return parameter(graph, node).detach()
    if otherwise is None:
        raise TypeError(f"a batch normalization without statistics: {node}")
    return otherwise
