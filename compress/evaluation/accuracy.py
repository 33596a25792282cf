"""Top-1 and top-5 accuracy of models, files and scores, counted in one way."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from compress.context.progress import passed
from compress.data.batches import evaluation_batches
from compress.data.data import Images
from compress.models import meta
from compress.models.model import Model
from export.parity import Scores

Logits = Callable[[Tensor], Tensor]

_BATCH: Final = 128
_TOP: Final = 5


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


def accuracy(asked: Model | Logits, images: Images) -> Accuracy:
    """The accuracy of `asked` on `images`.

    `asked` is a model, or a function from pixels, uint8 [n, 3, size, size], to logits
    [n, classes].
    """
    logits = _logits_of(asked) if isinstance(asked, Model) else asked

    def batches() -> Iterator[Tensor]:
        for batch in passed("judging", evaluation_batches(images, _BATCH)):
            yield logits(batch.pixels)

    with torch.inference_mode():
        return _counted(batches(), images.labels).accuracy


def answered(scores: Scores, labels: npt.NDArray[np.int64]) -> Answered:
    """The accuracy of `scores`, float32 [n, classes]; labels: int64 [n]."""
    starts = range(0, len(scores), _BATCH)
    parts = (torch.from_numpy(np.array(scores[at : at + _BATCH])) for at in starts)
    return _counted(parts, labels)


def _counted(scores: Iterable[Tensor], labels: npt.NDArray[np.int64]) -> Answered:
    """Right answers among batches of scores [n, classes]."""
    given = np.empty(len(labels), np.int64)
    among = classes = done = 0
    for batch in scores:
        classes = batch.shape[1]
        order = batch.topk(min(_TOP, classes), dim=1).indices.cpu().numpy()
        wanted = labels[done : done + len(order)]
        among += int((order == wanted[:, None]).any(axis=1).sum())
        given[done : done + len(order)] = order[:, 0]
        done += len(order)
    total = max(1, len(labels))
    found = Accuracy(
        top1=int((given == labels).sum()) / total,
        top5=among / total,
        images=len(labels),
        classes=classes,
    )
    return Answered(accuracy=found, answers=given, labels=labels)


def _logits_of(model: Model) -> Logits:
    """From pixels to what the model says, where its parameters are."""
    device = next(iter(model.net.parameters()), torch.empty(0)).device

    def logits(pixels: Tensor) -> Tensor:
        with meta.evaluating(model.net):
            answer: Tensor = model.net(model.prepare(pixels.to(device)))
        return answer

    return logits
