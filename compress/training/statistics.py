"""Batch-norm statistics that are those of the weights, re-estimated where they are not.

A running average with momentum m still holds (1 - m)^n of what it began with after n
steps. A network of PyTorch's usual momentum, 0.1, that is trained for ten steps is
evaluated on statistics of which a third is from before: its answers mean nothing,
though its weights do (MobileNetV2 on 160 photos: top-1 of chance, all answers alike).
"""

import copy
import math
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Final, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compress.context.progress import Counted, passed
from compress.data.batches import PLAIN_VIEW, batches
from compress.data.data import Images
from compress.models.model import Model

# Gives float32 [n, 3, size, size] batches, the same ones each time it is called.
Batches = Callable[[], Iterator[Tensor]]

# What a running average may still hold of the statistics it began with: it has arrived
# after 44 steps with a momentum of 0.1, after 459 with one of 0.01.
_LEFT: Final = 0.01
# As many images as the usual average rests on: (2 / 0.1 - 1) batches of 64 are 1,216.
_IMAGES: Final = 1024
_BATCH: Final = 128


class Moments:
    """Mean and variance of each channel over all images and positions."""

    def __init__(self) -> None:
        """Of nothing yet."""
        self.count = 0
        self.sum = self.squares = torch.zeros((), dtype=torch.float64)

    def add(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """The mean and the (biased) variance of `count` numbers a channel, each [c]."""
        mean, variance = (each.detach().cpu().double() for each in (mean, variance))
        self.count += count
        self.sum = self.sum + mean * count
        self.squares = self.squares + (variance + mean.square()) * count

    def add_maps(self, maps: Tensor) -> None:
        """All numbers of [n, c, ...]."""
        axes = [axis for axis in range(maps.dim()) if axis != 1]
        variance, mean = torch.var_mean(maps.detach().double(), axes, correction=0)
        self.add(mean, variance, maps.numel() // maps.shape[1])

    def only(self, channels: Tensor | None) -> "Moments":
        """Those of some channels."""
        if channels is None:
            return self
        some = Moments()
        some.count = self.count
        some.sum, some.squares = self.sum[channels], self.squares[channels]
        return some

    @property
    def mean(self) -> Tensor:
        """[c]."""
        return self.sum / self.count

    @property
    def variance(self) -> Tensor:
        """[c], biased, as a norm divides by it."""
        return (self.squares / self.count - self.mean.square()).clamp(min=0.0)

    @property
    def unbiased(self) -> Tensor:
        """[c], as a norm keeps it for evaluation."""
        return self.variance * (self.count / max(1, self.count - 1))


@runtime_checkable
class Gathering(Protocol):
    """A network whose norms are no modules and gather statistics all the same."""

    def gathers(self, share: float) -> bool:
        """Whether the step after `share` of the training gathers statistics."""
        ...

    def regather_(self, images: Batches, *, steps: int) -> None:
        """Set statistics that `steps` steps were too few for to those of `images`."""
        ...


def arrived(momentum: float | None, steps: int) -> bool:
    """Whether a running average forgot what it began with in so many steps.

    Without a momentum it weighs all steps alike, and the first ones never leave.
    """
    return momentum is not None and (1 - momentum) ** steps <= _LEFT


def norms_of(net: nn.Module) -> dict[str, _BatchNorm]:
    """Batch norms that have statistics."""
    return {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def stale(net: nn.Module, learning: Collection[str], *, steps: int) -> list[str]:
    """Those of the `learning` norms whose statistics are not those of their weights.

    steps: how many there were since what flows through the net last changed otherwise.
    A norm of momentum 0 keeps the statistics that somebody gave it.
    """
    return [
        name
        for name, norm in norms_of(net).items()
        if name in learning and norm.momentum != 0 and not arrived(norm.momentum, steps)
    ]


def plain_batches(model: Model, images: Images, *, seed: int, device: str) -> Batches:
    """Training images as an evaluation looks at them, in a random order of their own.

    In the order of the listing a batch would be of one class, and so its statistics.
    Batches are alike in size, so that none is of an image or two.
    """
    count = min(len(images), _IMAGES)
    parts = math.ceil(count / _BATCH)

    def shown() -> Iterator[Tensor]:
        loader = batches(
            images,
            batch_size=math.ceil(count / parts),
            seed=seed,
            epoch=0,
            view=PLAIN_VIEW,
            augment=None,
            shuffle=True,
            drop_last=False,
            workers=0,
        )
        prepared = (
            model.prepare(batch.pixels.to(device)) for batch in islice(loader, parts)
        )
        return Counted(prepared, parts)

    return shown


def reestimated(net: nn.Module, names: Collection[str], images: Batches) -> nn.Module:
    """A copy of `net` in eval mode, the norms `names` with the statistics of `images`.

    Each batch is normalized by itself, as in training, and what is kept is the mean and
    variance of all (PyTorch's `update_bn` averages the variances of batches instead and
    switches dropout on). Norms that no image reaches stay as they were.
    """
    made = copy.deepcopy(net).eval()
    norms = {name: norm for name, norm in norms_of(made).items() if name in names}
    found = {name: Moments() for name in norms}
    before = {name: _as_they_are(norm) for name, norm in norms.items()}
    handles = [
        norm.register_forward_hook(_noting(found[name])) for name, norm in norms.items()
    ]
    for norm in norms.values():
        norm.momentum = 1.0  # what it holds is that of the last batch
        norm.train()
    with torch.no_grad():
        for batch in passed("re-estimating batch norms", images()):
            made(batch)
    for handle in handles:
        handle.remove()
    for name, norm in norms.items():
        norm.eval()
        norm.momentum, norm.num_batches_tracked = before[name]
        if found[name].count:
            _set_(norm.running_mean, found[name].mean)
            _set_(norm.running_var, found[name].unbiased)
    return made


def _as_they_are(norm: _BatchNorm) -> tuple[float | None, Tensor | None]:
    """What a pass in training mode changes of a norm beside its statistics."""
    tracked = norm.num_batches_tracked
    return norm.momentum, None if tracked is None else tracked.clone()


def _noting(moments: Moments) -> Callable[..., None]:
    """A hook that adds what a norm found in a batch."""

    def hook(norm: _BatchNorm, given: tuple[Tensor, ...], _: Tensor) -> None:
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:  # pragma: no cover  # `norms_of` saw them
            raise TypeError(f"{type(norm).__name__} has no statistics")
        count = given[0].numel() // given[0].shape[1]
        moments.add(mean, variance * ((count - 1) / count), count)  # it is unbiased

    return hook


def _set_(statistic: Tensor | None, value: Tensor) -> None:
    """Give a norm's statistic the value of a moment."""
    if statistic is not None:
        statistic.copy_(value)
