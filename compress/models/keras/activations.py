"""Keras's activation functions, whether layers of their own or part of another."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from compress.models.keras.draft import Draft, channels_first
from compress.models.keras.record import Layer, Operand
from compress.models.keras.shapes import Lowered

# Keras's gelu is exact unless told otherwise; its leaky_relu, the function, has 0.2.
_ACTIVATIONS: Final[Mapping[str, tuple[str, Mapping[str, object]]]] = {
    "relu": ("relu", {}),
    "relu6": ("relu6", {}),
    "leaky_relu": ("leaky_relu", {"negative_slope": 0.2}),
    "elu": ("elu", {}),
    "selu": ("selu", {}),
    "gelu": ("gelu", {}),
    "sigmoid": ("sigmoid", {}),
    "hard_sigmoid": ("hard_sigmoid", {}),
    "silu": ("silu", {}),
    "swish": ("silu", {}),
    "hard_silu": ("hard_swish", {}),
    "hard_swish": ("hard_swish", {}),
    "softplus": ("softplus", {}),
    "tanh": ("tanh", {}),
}
# torch's ceiling must be a number.
_NO_CEILING: Final = 3e38


def activated(draft: Draft, layer: Layer, value: str, suffix: str = "act") -> str:
    """`value` after the function that the layer names as its activation."""
    named = layer.options.get("activation")
    if isinstance(named, dict):  # a layer, or a function of Keras written at length
        kind, options = str(named.get("class_name")), named.get("config")
        own = str(named.get("module") or "keras").startswith(("keras", "builtins"))
        if kind == "function" and isinstance(options, str) and own:
            named = options
        elif kind in _WRITTEN_OUT and isinstance(options, dict):
            inner = Layer(
                kind=kind,
                options=options,
                place=layer.place,
                keras=layer.keras,
                path=layer.path,
            )
            return _WRITTEN_OUT[kind](draft, inner, [value])
    name = "linear" if named is None else str(named)
    if name == "linear":
        return value
    if name == "softmax":
        return _softmax(draft, layer, value, suffix, axis=-1)
    if name == "hard_sigmoid" and layer.keras < 3:  # noqa: PLR2004  # Keras 3 changed it
        return draft.add(layer, "hard_sigmoid2", [value], suffix=suffix)
    if name not in _ACTIVATIONS:
        known = ", ".join(sorted({*_ACTIVATIONS, "linear", "softmax"}))
        raise layer.refusal(f"unknown activation {name!r}; known: {known}")
    kind, options = _ACTIVATIONS[name]
    return draft.add(layer, kind, [value], suffix=suffix, options=options)


def activation(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    """A layer that is nothing but a function."""
    return activated(draft, layer, draft.only(layer, operands), suffix="")


def relu(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    """What is positive, up to a ceiling, and a share of what is negative."""
    value = draft.only(layer, operands)
    if layer.number("threshold", 0):
        raise layer.refusal(f"threshold {layer.number('threshold', 0)}; allowed: 0")
    ceiling = layer.number("max_value", math.inf)
    slope = layer.number("negative_slope", 0)
    if slope:
        value = draft.add(
            layer, "leaky_relu", [value], options={"negative_slope": slope}
        )
        if ceiling == math.inf:
            return value
        limits = {"min_val": -_NO_CEILING, "max_val": ceiling}
        return draft.add(layer, "clip", [value], suffix="clip", options=limits)
    if ceiling in {6.0, math.inf}:
        return draft.add(layer, "relu" if ceiling > 6 else "relu6", [value])  # noqa: PLR2004  # ReLU6
    return draft.add(
        layer, "clip", [value], options={"min_val": 0.0, "max_val": ceiling}
    )


def leaky_relu(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    """What is positive, and a share of what is negative."""
    key = "negative_slope" if "negative_slope" in layer.options else "alpha"
    options = {"negative_slope": layer.number(key, 0.3)}
    return draft.add(
        layer, "leaky_relu", [draft.only(layer, operands)], options=options
    )


def softmax_layer(draft: Draft, layer: Layer, operands: Sequence[Operand]) -> str:
    """Scores as probabilities."""
    axis = layer.options.get("axis", -1)
    if not isinstance(axis, int):
        raise layer.refusal(f"axis {axis}; allowed: one axis")
    return _softmax(draft, layer, draft.only(layer, operands), "", axis=axis)


def _softmax(draft: Draft, layer: Layer, value: str, suffix: str, *, axis: int) -> str:
    options = {"dim": channels_first(axis, draft.rank(value))}
    return draft.add(layer, "softmax", [value], suffix=suffix, options=options)


# What may stand as another layer's activation, described as a layer.
_WRITTEN_OUT: Final[Mapping[str, Lowered]] = {
    "LeakyReLU": leaky_relu,
    "ReLU": relu,
    "Softmax": softmax_layer,
}
