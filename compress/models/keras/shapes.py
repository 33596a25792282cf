"""Keras's layers without trained weights: pooling, padding, shapes, fixed scales."""

import math
from collections.abc import Callable, Sequence
from typing import Final

from compress.models.keras.draft import Draft, same
from compress.models.keras.record import Layer, Operand

_IMAGES: Final = 4  # axes of a batch of images
_LEAST_DEVIATION: Final = 1e-7  # keras.config.epsilon(), below which nothing divides

Lowered = Callable[[Draft, Layer, Sequence[Operand]], str]


def pooling(*, average: bool) -> Lowered:
    """The mean or the largest of each window."""
    plain = "average_pool" if average else "max_pool"

    def lowered(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
        value = draft.image(layer, operands)
        kernel = layer.pair("pool_size", 2)
        stride = layer.pair("strides", None) if layer.options.get("strides") else kernel
        if same(layer):
            options = {"kernel": kernel, "stride": stride}
            return draft.add(layer, f"same_{plain}", [value], options=options)
        options = {"kernel_size": kernel, "stride": stride}
        return draft.add(layer, plain, [value], options=options)

    return lowered


def global_pooling(kind: str) -> Lowered:
    """One number a channel."""

    def lowered(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
        value = draft.image(layer, operands)
        options = {"output_size": 1} if kind == "adaptive_average" else {}
        value = draft.add(layer, kind, [value], options=options)
        if layer.flag("keepdims", default=False):
            return value
        return draft.add(layer, "flatten", [value], suffix="flat", rank=2)

    return lowered


def zero_padding(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    """Rows and columns of zeros around an image."""
    (top, bottom), (left, right) = _edges(layer, "padding")
    options = {"padding": (left, right, top, bottom)}
    return draft.add(layer, "pad", [draft.image(layer, operands)], options=options)


def cropping(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    """Rows and columns less."""
    rows, columns = _edges(layer, "cropping")
    options = {"rows": rows, "columns": columns}
    return draft.add(layer, "crop", [draft.image(layer, operands)], options=options)


def _edges(layer: Layer, key: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """How much at top and bottom, left and right."""
    match layer.options.get(key):
        case int(side):
            return (side, side), (side, side)
        case [int(high), int(wide)]:
            return (high, high), (wide, wide)
        case [[int(top), int(bottom)], [int(left), int(right)]]:
            return (top, bottom), (left, right)
    raise layer.refusal(f"{key} is {layer.options.get(key)!r}")


def flatten(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    """All numbers of an image in a row, in Keras's order."""
    value = draft.only(layer, operands)
    return draft.add(layer, "reshape", [value], rank=2, options={"shape": (-1,)})


def reshape(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    """The same numbers in another shape."""
    match layer.options.get("target_shape"):
        case [*sides] if sides and all(isinstance(each, int) for each in sides):
            value = draft.only(layer, operands)
            rank, options = len(sides) + 1, {"shape": tuple(sides)}
            return draft.add(layer, "reshape", [value], rank=rank, options=options)
        case other:
            raise layer.refusal(f"target_shape is {other!r}, not whole numbers")


def dropout(kind: str) -> Lowered:
    """Noise while training; nothing after it."""

    def lowered(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
        value = draft.only(layer, operands)
        return draft.add(layer, kind, [value], options={"p": layer.number("rate", 0.5)})

    return lowered


def nothing(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    """What only augments or regularizes the training: ours has its own."""
    return draft.only(layer, operands)


def rescaling(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    """`x * scale + offset`."""
    value = draft.only(layer, operands)
    scale = numbers(layer, "scale", (1.0,))
    offset = numbers(layer, "offset", (0.0,))
    options = {"scale": scale, "offset": offset}
    return draft.add(layer, "affine", [value], options=options)


def normalization(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    """`(x - mean) / deviation`, from the options or from what the layer has seen."""
    value = draft.only(layer, operands)
    if layer.flag("invert", default=False):
        raise layer.refusal("inverts; allowed: only what normalizes")
    axis = layer.options.get("axis", -1)
    if axis not in (-1, [-1], [draft.rank(value) - 1], None, []):
        raise layer.refusal(f"axis {axis}; allowed: that of the channels, the last")
    if layer.options.get("mean") is not None:
        mean = numbers(layer, "mean", ())
        variance = numbers(layer, "variance", ())
    else:
        found = draft.weights(layer, [["mean"], ["variance"]])
        mean, variance = (tuple(each.flatten().tolist()) for each in found)
    if len(mean) != len(variance):
        raise layer.refusal("has not as many means as variances")
    scale = tuple(1 / max(math.sqrt(each), _LEAST_DEVIATION) for each in variance)
    offset = tuple(-m * s for m, s in zip(mean, scale, strict=True))
    options = {"scale": scale, "offset": offset}
    return draft.add(layer, "affine", [value], options=options)


def numbers(layer: Layer, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
    """One number, or a list of them, however deep it is nested."""
    value = layer.options.get(key)
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    match value:
        case None:
            return default
        case int() | float():
            return (float(value),)
        case [*several] if all(isinstance(each, int | float) for each in several):
            return tuple(float(str(each)) for each in several)
    raise layer.refusal(f"{key} is {value!r}, not numbers")


def upsampling(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    """A larger image."""
    way = layer.text("interpolation", "nearest")
    if way not in {"nearest", "bilinear"}:
        raise layer.refusal(f"interpolation {way!r}; allowed: nearest, bilinear")
    high, wide = layer.pair("size", 2)
    options = {"scale_factor": (float(high), float(wide)), "mode": way}
    return draft.add(layer, "upsample", [draft.image(layer, operands)], options=options)
