"""What Keras has and torch has not: "same" padding, shapes in NHWC order, merging."""

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

_IMAGES: Final = 4  # axes of a batch of images; other tensors keep Keras's order
_OPERATIONS: Final[Mapping[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "average": operator.add,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
}


def around(
    side: int, *, kernel: int, stride: int, dilation: int = 1
) -> tuple[int, int]:
    """How many positions "same" puts before and after `side` of them.

    One output for every `stride` inputs, begun or whole; the odd position comes after
    (tensorflow/core/framework/kernel_shape_util.cc).
    """
    reach = (kernel - 1) * dilation + 1
    missing = max(0, (-(-side // stride) - 1) * stride + reach - side)
    return missing // 2, missing - missing // 2


class SamePad(nn.Module):
    """Zeros around an image, as a convolution with padding "same" wants them."""

    def __init__(
        self, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
    ) -> None:
        """Height first, then width."""
        super().__init__()
        self.windows: Final = tuple(zip(kernel, stride, dilation, strict=True))

    def forward(self, images: Tensor) -> Tensor:
        """Pad height and width."""
        (top, bottom), (left, right) = (
            around(side, kernel=kernel, stride=stride, dilation=dilation)
            for side, (kernel, stride, dilation) in zip(
                images.shape[2:], self.windows, strict=True
            )
        )
        return F.pad(images, (left, right, top, bottom))


class SamePool(nn.Module):
    """Pooling with padding "same": what is outside the image does not count.

    torch pads alike on both sides; the one position more after the image is what
    `ceil_mode` adds.
    """

    def __init__(
        self, kernel: Sequence[int], stride: Sequence[int], *, average: bool
    ) -> None:
        """Height first, then width; the mean or the largest."""
        super().__init__()
        self.windows: Final = tuple(zip(kernel, stride, strict=True))
        self.average: Final = average

    def forward(self, images: Tensor) -> Tensor:
        """Pool height and width."""
        before = [
            around(side, kernel=kernel, stride=stride)[0]
            for side, (kernel, stride) in zip(
                images.shape[2:], self.windows, strict=True
            )
        ]
        kernel, stride = map(list, zip(*self.windows, strict=True))
        if self.average:
            return F.avg_pool2d(
                images, kernel, stride, before, ceil_mode=True, count_include_pad=False
            )
        return F.max_pool2d(images, kernel, stride, before, ceil_mode=True)


class Crop(nn.Module):
    """Take rows and columns off the edges."""

    def __init__(self, rows: Sequence[int], columns: Sequence[int]) -> None:
        """How many before the middle, and how many after it."""
        super().__init__()
        self.rows: Final = tuple(rows)
        self.columns: Final = tuple(columns)

    def forward(self, images: Tensor) -> Tensor:
        """Keep the middle."""
        high, wide = images.shape[2:]
        (top, bottom), (left, right) = self.rows, self.columns
        return images[:, :, top : high - bottom, left : wide - right]


class Reshape(nn.Module):
    """Another shape for the same numbers, in the order in which Keras keeps them."""

    def __init__(self, shape: Sequence[int]) -> None:
        """`shape` without the batch, as Keras has it."""
        super().__init__()
        self.shape: Final = tuple(shape)

    def forward(self, values: Tensor) -> Tensor:
        """Go by way of NHWC, unless there is one pixel only."""
        count = values.shape[0]
        if values.dim() == _IMAGES:
            one = tuple(values.shape[2:]) == (1, 1)
            values = values.flatten(1) if one else values.permute(0, 2, 3, 1)
        if self.shape[:-1] == (1, 1):
            return values.reshape(count, self.shape[-1], 1, 1)
        values = values.reshape(count, *self.shape)
        return values.permute(0, 3, 1, 2) if values.dim() == _IMAGES else values


class Merge(nn.Module):
    """Several tensors, or a tensor and a number, become one, element by element."""

    def __init__(self, operation: str) -> None:
        """One of the operations of the table."""
        super().__init__()
        self.operation: Final = operation

    def forward(self, *operands: Tensor) -> Tensor:
        """Combine from left to right; [n, c] applies to every pixel of an image."""
        images = any(
            isinstance(each, Tensor) and each.dim() == _IMAGES for each in operands
        )
        fitted = [
            each[:, :, None, None]
            if images and isinstance(each, Tensor) and each.dim() == 2  # noqa: PLR2004  # [n, c]
            else each
            for each in operands
        ]
        merged = reduce(_OPERATIONS[self.operation], fitted)
        return merged / len(fitted) if self.operation == "average" else merged


class Concatenate(nn.Module):
    """Tensors one after the other along an axis."""

    def __init__(self, axis: int) -> None:
        """`axis` is torch's."""
        super().__init__()
        self.axis: Final = axis

    def forward(self, *operands: Tensor) -> Tensor:
        """Join."""
        return torch.cat(operands, dim=self.axis)


class Affine(nn.Module):
    """`x * scale + offset`, fixed; for each channel or for all alike."""

    def __init__(self, scale: Sequence[float], offset: Sequence[float]) -> None:
        """One number each, or one a channel."""
        super().__init__()
        # Part of the plan, and so of no checkpoint.
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.register_buffer("offset", torch.tensor(offset), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Scale, then shift."""
        shape = (-1, 1, 1) if values.dim() == _IMAGES else (-1,)
        scale, offset = self.get_buffer("scale"), self.get_buffer("offset")
        return values * scale.view(shape) + offset.view(shape)


class HardSigmoid2(nn.Module):
    """Keras 2's hard sigmoid, which is steeper than that of Keras 3 and torch."""

    def forward(self, values: Tensor) -> Tensor:
        """Clip 0.2 x + 0.5 to [0, 1] (keras 2, backend.hard_sigmoid)."""
        return (0.2 * values + 0.5).clamp(0, 1)


class Largest(nn.Module):
    """The largest value of each channel."""

    def forward(self, images: Tensor) -> Tensor:
        """Give [n, c, 1, 1]."""
        return images.amax(dim=(2, 3), keepdim=True)
