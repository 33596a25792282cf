"""Scores of networks and files on images: who is asked, on which of them, and how."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from compress.context.progress import passed
from compress.data.batches import evaluation_batches
from compress.data.data import Images
from compress.data.dataset import Catalogue
from compress.models.model import Model
from export.parity import Answer, Scores
from runtime.batch import check_scores, in_layout_of
from runtime.preprocess import Preprocess
from runtime.session import Session

# Enough to be 95 % sure of 99.6 % agreement if none differs (Wilson 1927).
PARITY_IMAGES = 1000
# Enough for 95 % to be sure of 90 % where one answer in twenty changes.
ENOUGH_IMAGES = 200
PARITY_BATCH = 32  # a file with a fixed batch is asked image by image


def scores_of(ask: Answer, model: Model, images: Images) -> Scores:
    """What `ask` says to each image as `model` is fed it: float32 [images, outputs]."""
    return np.concatenate(
        [
            ask(model.prepare(batch.pixels).contiguous().numpy())
            for batch in passed("proof", evaluation_batches(images, PARITY_BATCH))
        ]
    )


def network_answers(net: nn.Module) -> Answer:
    """A torch network as a function of arrays [n, 3, size, size]."""

    def answer(batch: Scores) -> Scores:
        with torch.inference_mode():
            scores: Tensor = net(torch.from_numpy(batch))
        return np.asarray(scores.numpy())

    return answer


def file_answers(session: Session) -> Answer:
    """A model file as a function of arrays [n, 3, size, size]."""

    def answer(batch: Scores) -> Scores:
        scores = session.run(in_layout_of(session.artifact, batch))
        return check_scores(scores, images=len(batch), path=session.artifact.path)

    return answer


def tells_classes(model: Model, data: Catalogue) -> bool:
    """Whether the outputs of `model` are scores of classes.

    A library's architecture tells classes apart, whichever; of a user's own network
    nobody knows, unless it has as many outputs as the data classes.
    """
    return data.judges(len(model.classes)) or model.spec.factory is None


def besides(data: Catalogue, preprocess: Preprocess, images: Images) -> Images | None:
    """Training images, where too few are held out to tell whether INT8 kept float.

    Agreement asks for no labels, so that every image says something; those that ranges
    were measured on are a little kinder than others. None where there are enough.
    """
    missing = ENOUGH_IMAGES - len(images)
    if missing <= 0 or data.train is None or data.val is None:
        return None
    train = data.open(preprocess).train
    return None if train is None else thinned(train, missing)


def thinned(images: Images, most: int) -> Images:
    """Every n-th image, so that at most `most` are left, without reading any."""
    return images.only(slice(None, None, stride(images.labels, most)))


def stride(labels: npt.NDArray[np.int64], most: int) -> int:
    """A step through `labels` that takes at most `most`, of as many classes as may be.

    Where classes take turns in a list, every n-th image may be of one class.
    """
    least = max(1, -(-len(labels) // most))
    steps = range(least, least + 5)
    return max(steps, key=lambda step: (len(np.unique(labels[::step])), -step))
