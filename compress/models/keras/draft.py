"""A plan in the making: steps, their weights as tensors, and how many axes each has."""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from compress.models.keras.file import Weights
from compress.models.keras.net import KerasNet
from compress.models.keras.plan import IMAGE, Plan, Step
from compress.models.keras.record import Layer, Operand
from runtime.errors import InputRejectedError

_IMAGES: Final = 4  # axes of a batch of images
# What a layer of the network cannot be called, because torch's modules have it.
_TAKEN: Final = frozenset(dir(KerasNet(Plan(steps=(), output=IMAGE, outputs=0))))


def channels_first(axis: int, rank: int) -> int:
    """Where torch has the axis that Keras numbers `axis`, of a tensor of `rank` axes.

    Images are [n, h, w, c] in Keras and [n, c, h, w] in torch; nothing else differs.
    """
    axis %= rank
    return (0, 2, 3, 1)[axis] if rank == _IMAGES else axis


class Draft:
    """Steps and weights so far; a layer that is called twice is one module."""

    def __init__(self, weights: Weights) -> None:
        """Begin with an image; `weights` reads those of a layer."""
        self.steps: Final[list[Step]] = []
        self.state: Final[dict[str, Tensor]] = {}
        self._weights: Final = weights
        self._ranks: Final = {IMAGE: _IMAGES}
        self._read: Final[dict[object, list[Tensor]]] = {}
        self._modules: Final[dict[tuple[str, str], str]] = {}
        self._taken: Final = set(_TAKEN)
        self._call = ""

    def begin(self, call: str) -> None:
        """Say which call the next steps belong to."""
        self._call = call

    def rank(self, value: Operand) -> int:
        """How many axes a value has, the batch included."""
        return self._ranks[value] if isinstance(value, str) else 0

    def add(  # noqa: PLR0913  # what a step is
        self,
        layer: Layer,
        kind: str,
        inputs: Sequence[Operand],
        *,
        suffix: str = "",
        rank: int | None = None,
        options: Mapping[str, object] | None = None,
        state: Mapping[str, Tensor] | None = None,
    ) -> str:
        """Note a step of `layer` with `rank` axes, as many as its input by default."""
        module = self._module(layer, suffix)
        name = f"{self._call}:{suffix}" if suffix else self._call
        self._ranks[name] = self.rank(inputs[0]) if rank is None else rank
        self.state.update(
            {f"{module}.{key}": t.contiguous() for key, t in (state or {}).items()}
        )
        self.steps.append(
            Step(
                name=name,
                kind=kind,
                module=module,
                inputs=tuple(inputs),
                options=dict(options or {}),
            )
        )
        return name

    def only(self, layer: Layer, operands: Sequence[Operand]) -> str:
        """The one tensor that `layer` works on."""
        match operands:
            case [str(value)]:
                return value
        raise layer.refusal(f"has {len(operands)} inputs; allowed: one")

    def image(self, layer: Layer, operands: Sequence[Operand]) -> str:
        """The one image that `layer` works on."""
        value = self.only(layer, operands)
        if layer.text("data_format", "channels_last") != "channels_last":
            raise layer.refusal("is channels_first; allowed: channels_last")
        if self.rank(value) != _IMAGES:
            raise layer.refusal(f"of a tensor with {self.rank(value)} axes; allowed: 4")
        return value

    def weights(self, layer: Layer, names: Sequence[Sequence[str]]) -> list[Tensor]:
        """The weights of `layer`, each by what it may be called."""
        key = (layer.place, tuple(map(tuple, names)))
        if key not in self._read:  # a layer that is called again is not read again
            found = self._weights(layer.place, names)
            self._read[key] = [torch.from_numpy(array) for array in found]
        return self._read[key]

    def padded_conv(  # noqa: PLR0913  # what a convolution is
        self,
        layer: Layer,
        value: str,
        weight: Tensor,
        bias: Tensor | None,
        *,
        groups: int,
        suffix: str = "",
    ) -> str:
        """Add a convolution; "same" is its own padding where both sides are alike."""
        kernel = tuple(weight.shape[2:])
        if kernel != layer.pair("kernel_size", None):
            raise layer.refusal(
                f"its weights are for a kernel of {kernel}; the file is corrupt"
            )
        stride, dilation = layer.pair("strides"), layer.pair("dilation_rate")
        padding = (0, 0)
        if same(layer):
            extra = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
            if stride == (1, 1) and not any(each % 2 for each in extra):
                padding = (extra[0] // 2, extra[1] // 2)
            else:
                windows = {"kernel": kernel, "stride": stride, "dilation": dilation}
                joined = f"{suffix}_pad" if suffix else "pad"
                value = self.add(
                    layer, "same_pad", [value], suffix=joined, options=windows
                )
        return self._conv(
            layer,
            value,
            weight,
            bias,
            suffix=suffix,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )

    def pointwise(
        self, layer: Layer, value: str, weight: Tensor, bias: Tensor | None
    ) -> str:
        """Add a 1x1 convolution."""
        return self._conv(layer, value, weight, bias, suffix="", groups=1)

    def linear(
        self, layer: Layer, value: str, weight: Tensor, bias: Tensor | None
    ) -> str:
        """Add a matrix product along the last axis."""
        outputs, inputs = weight.shape
        options = {
            "in_features": inputs,
            "out_features": outputs,
            "bias": bias is not None,
        }
        state = {"weight": weight} | ({} if bias is None else {"bias": bias})
        return self.add(layer, "linear", [value], options=options, state=state)

    def _conv(  # noqa: PLR0913  # what a convolution is
        self,
        layer: Layer,
        value: str,
        weight: Tensor,
        bias: Tensor | None,
        *,
        suffix: str,
        groups: int,
        **geometry: tuple[int, int],
    ) -> str:
        outputs, inputs, *kernel = weight.shape
        options: dict[str, object] = {
            "in_channels": inputs * groups,
            "out_channels": outputs,
            "kernel_size": tuple(kernel),
            "groups": groups,
            "bias": bias is not None,
            **geometry,
        }
        state = {"weight": weight} | ({} if bias is None else {"bias": bias})
        return self.add(
            layer, "conv", [value], suffix=suffix, options=options, state=state
        )

    def _module(self, layer: Layer, suffix: str) -> str:
        """A name that torch accepts, one for each layer and part of it."""
        key = (layer.place.title, suffix)
        if key not in self._modules:
            words = "_".join(filter(None, (*layer.place.names, suffix)))
            name = "".join(c if c.isalnum() else "_" for c in words) or "layer"
            while name in self._taken:
                name += "_"
            self._taken.add(name)
            self._modules[key] = name
        return self._modules[key]


def same(layer: Layer) -> bool:
    """Whether the layer pads so that its output is as large as its input."""
    padding = layer.text("padding", "valid")
    if padding not in {"same", "valid"}:
        raise InputRejectedError(
            f"{layer.path}: layer {layer.place.title!r}: padding {padding!r}; allowed: "
            "same, valid"
        )
    return padding == "same"
