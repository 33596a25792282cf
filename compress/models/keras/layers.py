"""What each layer of Keras is in torch: one function a kind, and the table of them."""

from collections.abc import Mapping, Sequence
from typing import Final

import torch

from compress.models.keras.activations import (
    activated,
    activation,
    leaky_relu,
    relu,
    softmax_layer,
)
from compress.models.keras.draft import Draft, channels_first
from compress.models.keras.record import Layer, Operand
from compress.models.keras.shapes import (
    Lowered,
    cropping,
    dropout,
    flatten,
    global_pooling,
    normalization,
    nothing,
    pooling,
    rescaling,
    reshape,
    upsampling,
    zero_padding,
)

_IMAGES: Final = 4  # axes of a batch of images


def _conv(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    bias = layer.flag("use_bias", default=True)
    kernel, *rest = draft.weights(layer, [["kernel"], ["bias"]][: 1 + bias])
    # [height, width, in, out] of Keras
    weight = kernel.permute(3, 2, 0, 1)
    value = draft.padded_conv(
        layer,
        draft.image(layer, operands),
        weight,
        rest[0] if bias else None,
        groups=int(layer.number("groups", 1)),
    )
    return activated(draft, layer, value)


def _depthwise(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    bias = layer.flag("use_bias", default=True)
    names = [["kernel", "depthwise_kernel"], ["bias"]][: 1 + bias]
    kernel, *rest = draft.weights(layer, names)
    value = draft.padded_conv(
        layer,
        draft.image(layer, operands),
        _each_channel(kernel),
        rest[0] if bias else None,
        groups=kernel.shape[2],
    )
    return activated(draft, layer, value)


def _separable(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    bias = layer.flag("use_bias", default=True)
    names = [["depthwise_kernel"], ["pointwise_kernel"], ["bias"]][: 2 + bias]
    depthwise, pointwise, *rest = draft.weights(layer, names)
    value = draft.padded_conv(
        layer,
        draft.image(layer, operands),
        _each_channel(depthwise),
        None,
        groups=depthwise.shape[2],
        suffix="depthwise",
    )
    value = draft.pointwise(
        layer, value, pointwise.permute(3, 2, 0, 1), rest[0] if bias else None
    )
    return activated(draft, layer, value)


def _each_channel(kernel: torch.Tensor) -> torch.Tensor:
    """[height, width, in, times] of Keras as torch's [in * times, 1, height, width]."""
    high, wide, channels, times = kernel.shape
    return kernel.permute(2, 3, 0, 1).reshape(channels * times, 1, high, wide)


def _dense(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    value = draft.only(layer, operands)
    bias = layer.flag("use_bias", default=True)
    kernel, *rest = draft.weights(layer, [["kernel"], ["bias"]][: 1 + bias])
    shift = rest[0] if bias else None
    weight = kernel.t()
    if draft.rank(value) == _IMAGES:
        made = draft.pointwise(layer, value, weight[:, :, None, None], shift)
    else:
        made = draft.linear(layer, value, weight, shift)
    return activated(draft, layer, made)


def _batch_norm(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    value = draft.only(layer, operands)
    rank = draft.rank(value)
    axis = layer.options.get("axis", -1)
    if (axis[0] if isinstance(axis, list) and axis else axis) not in {-1, rank - 1}:
        raise layer.refusal(f"axis {axis}; allowed: that of the channels, the last")
    if rank not in {2, _IMAGES}:
        raise layer.refusal(f"of a tensor with {rank} axes; allowed: 2 or 4")
    scale = layer.flag("scale", default=True)
    center = layer.flag("center", default=True)
    names = ["gamma"] * scale + ["beta"] * center + ["moving_mean", "moving_variance"]
    found = draft.weights(layer, [[name] for name in names])
    stored = dict(zip(names, found, strict=True))
    mean, variance = stored["moving_mean"], stored["moving_variance"]
    return draft.add(
        layer,
        "norm2d" if rank == _IMAGES else "norm1d",
        [value],
        options={
            "num_features": len(mean),
            "eps": layer.number("epsilon", 1e-3),
            "momentum": 1 - layer.number("momentum", 0.99),
        },
        state={
            "weight": stored.get("gamma", torch.ones_like(mean)),
            "bias": stored.get("beta", torch.zeros_like(mean)),
            "running_mean": mean,
            "running_var": variance,
        },
    )


def _merged(operation: str) -> Lowered:
    """Several operands become one."""

    def lowered(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
        numbers = [each for each in operands if not isinstance(each, str)]
        if len(operands) < 2 or (numbers and operation in {"maximum", "minimum"}):  # noqa: PLR2004  # a pair
            raise layer.refusal("its operands are not all outputs of other layers")
        ranks = {draft.rank(each) for each in operands if isinstance(each, str)}
        if len(ranks) > 1 and ranks != {2, _IMAGES}:
            raise layer.refusal(
                f"operands with {sorted(ranks)} axes do not go together"
            )
        return draft.add(
            layer,
            "merge",
            operands,
            rank=max(ranks),
            options={"operation": operation},
        )

    return lowered


def _concatenate(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    axis = int(layer.number("axis", -1))
    ranks = {draft.rank(each) for each in operands if isinstance(each, str)}
    if len(ranks) != 1 or any(not isinstance(each, str) for each in operands):
        raise layer.refusal("its operands are not tensors of as many axes")
    options = {"axis": channels_first(axis, *ranks)}
    return draft.add(layer, "concatenate", operands, options=options)


def _operation(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    """`x + 3` of Keras 2, which notes the Python function."""
    name = layer.text("function", "").rpartition(".")[2]
    merged = _OPERATIONS.get(name)
    if merged is None:
        raise layer.refusal(
            f"the function {name!r}; allowed: {', '.join(sorted(_OPERATIONS))}"
        )
    return merged(draft, layer, operands)


_OPERATIONS: Final[Mapping[str, Lowered]] = {
    "add": _merged("add"),
    "mul": _merged("multiply"),
    "multiply": _merged("multiply"),
    "sub": _merged("subtract"),
    "subtract": _merged("subtract"),
    "truediv": _merged("divide"),
    "divide": _merged("divide"),
}

LAYERS: Final[Mapping[str, Lowered]] = {
    "Activation": activation,
    "ActivityRegularization": nothing,
    "Add": _merged("add"),
    "Average": _merged("average"),
    "AveragePooling2D": pooling(average=True),
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate,
    "Conv2D": _conv,
    "Cropping2D": cropping,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "Divide": _merged("divide"),
    "Dropout": dropout("dropout"),
    "Flatten": flatten,
    "GaussianDropout": nothing,
    "GaussianNoise": nothing,
    "GlobalAveragePooling2D": global_pooling("adaptive_average"),
    "GlobalMaxPooling2D": global_pooling("largest"),
    "LeakyReLU": leaky_relu,
    "MaxPooling2D": pooling(average=False),
    "Maximum": _merged("maximum"),
    "Minimum": _merged("minimum"),
    "Multiply": _merged("multiply"),
    "Normalization": normalization,
    "RandomBrightness": nothing,
    "RandomContrast": nothing,
    "RandomFlip": nothing,
    "RandomRotation": nothing,
    "RandomTranslation": nothing,
    "RandomZoom": nothing,
    "ReLU": relu,
    "Rescaling": rescaling,
    "Reshape": reshape,
    "SeparableConv2D": _separable,
    "Softmax": softmax_layer,
    "SpatialDropout2D": dropout("dropout2d"),
    "Subtract": _merged("subtract"),
    "TFOpLambda": _operation,
    "TrueDivide": _merged("divide"),
    "UpSampling2D": upsampling,
    "ZeroPadding2D": zero_padding,
}
