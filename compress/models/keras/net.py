"""The network that a Keras file describes, made of torch's own layers (NCHW)."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from torch import Tensor, nn

from compress.models.keras.modules import (
    Affine,
    Concatenate,
    Crop,
    HardSigmoid2,
    Largest,
    Merge,
    Reshape,
    SamePad,
    SamePool,
)
from compress.models.keras.plan import IMAGE, Plan
from runtime.errors import InputRejectedError, one_line

# What torch's modules raise where they are given what makes no sense.
_CANNOT: Final = (
    LookupError,
    TypeError,
    ValueError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    AttributeError,
)


class KerasNet(nn.Module):
    """Carries out a Plan: each step's module under the name of its Keras layer."""

    def __init__(self, plan: Plan) -> None:
        """Make every module of `plan`; weights come from torch's global generator."""
        super().__init__()
        self.plan: Final = plan
        for step in plan.steps:
            if step.module in self._modules:
                continue
            options = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in step.options.items()
            }
            try:
                self.add_module(step.module, KINDS[step.kind](**options))
            except _CANNOT as error:
                raise InputRejectedError(
                    f"keras: layer {step.module!r} cannot be made: {one_line(error)}"
                ) from error
        last = {name: step.name for step in plan.steps for name in step.inputs}
        # What nobody reads after a step is let go, as a network by hand would.
        self._spent: Final[dict[str, list[str]]] = {}
        for name, reader in last.items():
            if isinstance(name, str) and name != plan.output:
                self._spent.setdefault(reader, []).append(name)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, classes] of images [n, 3, height, width]."""
        values = {IMAGE: images}
        for step in self.plan.steps:
            operands = [
                values[each] if isinstance(each, str) else each for each in step.inputs
            ]
            values[step.name] = self._modules[step.module](*operands)  # type: ignore[misc]
            for name in self._spent.get(step.name, ()):
                values.pop(name, None)
        return values[self.plan.output]


KINDS: Final[Mapping[str, Callable[..., nn.Module]]] = {
    "adaptive_average": nn.AdaptiveAvgPool2d,
    "affine": Affine,
    "average_pool": nn.AvgPool2d,
    "clip": nn.Hardtanh,
    "concatenate": Concatenate,
    "conv": nn.Conv2d,
    "crop": Crop,
    "dropout": nn.Dropout,
    "dropout2d": nn.Dropout2d,
    "elu": nn.ELU,
    "flatten": nn.Flatten,
    "gelu": nn.GELU,
    "hard_sigmoid": nn.Hardsigmoid,
    "hard_sigmoid2": HardSigmoid2,
    "hard_swish": nn.Hardswish,
    "largest": Largest,
    "leaky_relu": nn.LeakyReLU,
    "linear": nn.Linear,
    "max_pool": nn.MaxPool2d,
    "merge": Merge,
    "norm1d": nn.BatchNorm1d,
    "norm2d": nn.BatchNorm2d,
    "pad": nn.ZeroPad2d,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "reshape": Reshape,
    "same_average_pool": partial(SamePool, average=True),
    "same_max_pool": partial(SamePool, average=False),
    "same_pad": SamePad,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softmax": nn.Softmax,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "upsample": nn.Upsample,
}
