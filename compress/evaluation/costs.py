"""What a network costs and how well it answers: counted the same way after every stage.

Nothing is timed and nothing is guessed: shapes flow through a copy of the network on
the meta device, where they cost no memory, and are counted as they pass.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from compress.context.progress import passed
from compress.data.batches import evaluation_batches
from compress.data.data import Images
from compress.evaluation.liveness import peak_bytes
from compress.int8.simulate import QuantizedNet
from compress.models import meta
from compress.models.model import Model

Logits = Callable[[Tensor], Tensor]

_BATCH: Final = 128
_TOP: Final = 5


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The costs of one network at one input size.

    params: trainable or not, buffers excluded; macs: multiply-accumulates of
    convolutions, matrix products and attention for one image; size_bytes: parameters
    and buffers as they would be written, in float32 or, where quantized, in INT8;
    activation_bytes: the most that is alive at once while one image passes, see
    compress.evaluation.liveness; training_bytes: what autograd keeps for the backward pass,
    for one image more.
    """

    params: int
    macs: int
    size_bytes: int
    activation_bytes: int
    training_bytes: int


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Fractions of `images` whose label is the first, or among the first five."""

    top1: float
    top5: float
    images: int
    classes: int


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An accuracy, and the class that each image was given; int64 [images] each."""

    accuracy: Accuracy
    answers: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]


def costs_of(model: Model) -> Costs:
    """Count `model` at its own input size; the model is not changed."""
    net, size = model.net, model.preprocess.size
    return Costs(
        params=count_params(net),
        macs=count_macs(net, size=size),
        size_bytes=_size_bytes(net),
        activation_bytes=activation_bytes(net, size=size),
        training_bytes=training_bytes(net, size=size),
    )


def count_params(net: nn.Module) -> int:
    """How many numbers the network has learnt; shared ones count once."""
    return sum(parameter.numel() for parameter in net.parameters())


def count_macs(net: nn.Module, *, size: int) -> int:
    """Multiply-accumulates for one image [1, 3, size, size]; half of the flops."""
    from torch.utils.flop_counter import FlopCounterMode

    shadow, images = _shadow(net, size)
    with (
        torch.no_grad(),
        meta.evaluating(shadow),
        FlopCounterMode(display=False) as seen,
    ):
        shadow(images(1))
    return int(seen.get_total_flops()) // 2


def activation_bytes(net: nn.Module, *, size: int) -> int:
    """The most bytes alive at once in inference on one image [1, 3, size, size]."""
    shadow, images = _shadow(net, size)
    with torch.no_grad(), meta.evaluating(shadow):
        return peak_bytes(shadow, images(1))


def training_bytes(net: nn.Module, *, size: int) -> int:
    """Bytes that a further image adds to what the backward pass needs.

    Activations only; parameters, gradients and the optimizer's state do not grow with
    the batch.
    """
    shadow, images = _shadow(net, size)
    shadow.train()
    return (_saved_bytes(shadow, images(4)) - _saved_bytes(shadow, images(2))) // 2


def accuracy(asked: Model | Logits, images: Images) -> Accuracy:
    """How often `asked` is right on `images`.

    `asked` is a model, or a function from pixels, uint8 [n, 3, size, size], to logits
    [n, classes].
    """
    return answered(asked, images).accuracy


def answered(asked: Model | Logits, images: Images) -> Answered:
    """The same, and which class each image was given."""
    logits = _logits_of(asked) if isinstance(asked, Model) else asked
    given = np.empty(len(images), np.int64)
    among = classes = done = 0
    with torch.inference_mode():
        for batch in passed("judging", evaluation_batches(images, _BATCH)):
            scores = logits(batch.pixels)
            classes = scores.shape[1]
            order = scores.topk(min(_TOP, classes), dim=1).indices.cpu()
            among += int((order == batch.labels[:, None]).any(dim=1).sum())
            given[done : done + len(order)] = order[:, 0].numpy()
            done += len(order)
    total = max(1, len(images))
    first = int((given == images.labels).sum())
    found = Accuracy(
        top1=first / total, top5=among / total, images=len(images), classes=classes
    )
    return Answered(accuracy=found, answers=given, labels=images.labels)


def _logits_of(model: Model) -> Logits:
    """From pixels to what the model says, where its parameters are."""
    device = next(iter(model.net.parameters()), torch.empty(0)).device

    def logits(pixels: Tensor) -> Tensor:
        with meta.evaluating(model.net):
            answer: Tensor = model.net(model.prepare(pixels.to(device)))
        return answer

    return logits


def _size_bytes(net: nn.Module) -> int:
    """Bytes of the network's state as a file would hold it."""
    if isinstance(net, QuantizedNet):
        return net.size_bytes()
    state = [*net.parameters(), *net.buffers()]
    return sum(tensor.numel() for tensor in state) * torch.float32.itemsize


def _shadow(net: nn.Module, size: int) -> tuple[nn.Module, Callable[[int], Tensor]]:
    """A copy to count on, and images for it; real ones only if the net needs values."""
    shadow = meta.on_meta(net)
    if meta.outputs(shadow, size) is not None:
        return shadow, lambda count: meta.images(count, size)
    real = copy.deepcopy(net).cpu()
    return real, lambda count: torch.zeros(count, 3, size, size)


def _saved_bytes(net: nn.Module, images: Tensor) -> int:
    """Bytes of what autograd keeps during a forward pass, parameters excepted."""
    own = {t.untyped_storage()._cdata for t in (*net.parameters(), *net.buffers())}  # noqa: SLF001  # torch has no public identity of a storage
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage()._cdata  # noqa: SLF001  # as above
        if address not in own:
            kept[address] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answer = net(images)
    del answer
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
