"""A layer as a product of thinner ones: the modules, whatever their weights will be."""

from typing import cast

from torch import nn

from compress.models.surgery.record import Factorized

_Pair = tuple[int, int]


def factors(layer: nn.Module, how: Factorized) -> nn.Sequential:
    """What takes the place of `layer`, its weights fresh.

    A linear layer or 1x1 convolution [in, out] becomes [in, r] and [r, out]; a k x k
    one [in, r1] by 1x1, [r1, r2] by k x k with its stride, padding and dilation, and
    [r2, out] by 1x1. Only the last one has a bias, if the layer has. Raises ValueError
    where the layer is of another kind, or a rank above the channels it stands for.
    """
    if how.kind == "linear":
        if type(layer) is not nn.Linear:
            raise ValueError(f"{type(layer).__name__} is no linear layer")
        (rank,) = _ranks(how, layer.in_features, layer.out_features)
        return nn.Sequential(
            nn.Linear(layer.in_features, rank, bias=False),
            nn.Linear(rank, layer.out_features, bias=layer.bias is not None),
        )
    if not isinstance(layer, nn.Conv2d) or layer.groups != 1:
        raise ValueError(f"{type(layer).__name__} is no convolution of one group")
    last = layer.bias is not None
    stride = cast("_Pair", layer.stride)  # as for any convolution of images
    if how.kind == "conv1x1":
        if layer.kernel_size != (1, 1):
            raise ValueError(f"its kernel is {layer.kernel_size}, not 1x1")
        (rank,) = _ranks(how, layer.in_channels, layer.out_channels)
        # The stride comes first: the second product is spared what it would drop.
        return nn.Sequential(
            nn.Conv2d(layer.in_channels, rank, 1, stride=stride, bias=False),
            nn.Conv2d(rank, layer.out_channels, 1, bias=last),
        )
    before, after = _ranks(how, layer.in_channels, layer.out_channels)
    core = type(layer)(  # timm's pads by TensorFlow's rule and has a class of its own
        before,
        after,
        kernel_size=cast("_Pair", layer.kernel_size),
        stride=stride,
        padding=cast("_Pair", layer.padding),
        dilation=cast("_Pair", layer.dilation),
        bias=False,
    )
    return nn.Sequential(
        nn.Conv2d(layer.in_channels, before, 1, bias=False),
        core,
        nn.Conv2d(after, layer.out_channels, 1, bias=last),
    )


def _ranks(how: Factorized, inputs: int, outputs: int) -> tuple[int, ...]:
    """The ranks of `how`, checked against the channels they stand for."""
    limits = (inputs, outputs) if how.kind == "tucker2" else (min(inputs, outputs),)
    if len(how.ranks) != len(limits) or any(
        rank > limit for rank, limit in zip(how.ranks, limits, strict=True)
    ):
        raise ValueError(
            f"{how.kind} of ranks {list(how.ranks)} does not go with {inputs} inputs "
            f"and {outputs} outputs"
        )
    return how.ranks
