"""Scores of networks and files on images: who is asked, on which of them, and how."""

from collections.abc import Iterator
from tempfile import TemporaryFile

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from compress.context.memo import Memo
from compress.context.progress import passed
from compress.data.batches import evaluation_batches
from compress.data.data import Images
from compress.data.dataset import Dataset
from compress.models import meta
from compress.models.model import Model
from compress.models.network import reference_of
from export.parity import Answer, Scores
from runtime.batch import check_scores, in_layout_of
from runtime.errors import InputRejectedError
from runtime.preprocess import Preprocess
from runtime.session import Session

# Enough to be 95 % sure of 99.6 % agreement if none differs (Wilson 1927).
PARITY_IMAGES = 1000
# Enough for 95 % to be sure of 90 % where one answer in twenty changes.
ENOUGH_IMAGES = 200
PARITY_BATCH = 32  # a file with a fixed batch is asked image by image


def scores_of(
    ask: Answer, model: Model, images: Images, *, title: str = "proof"
) -> Scores:
    """What `ask` says to each image as `model` is fed it: float32 [images, outputs].

    They lie in a file that nobody else sees, so that memory does not grow with them.
    """
    if not len(images):
        raise InputRejectedError("no held-out images to judge networks and files by")
    found = np.empty((0, 0), np.float32)
    done = 0
    for batch in passed(title, evaluation_batches(images, PARITY_BATCH)):
        scores = ask(model.prepare(batch.pixels).contiguous().numpy())
        if not done:
            shape = (len(images), *scores.shape[1:])
            with TemporaryFile() as place:
                found = np.memmap(place, np.float32, "w+", shape=shape)
        found[done : done + len(scores)] = scores
        done += len(scores)
    return found


def network_scores(  # noqa: PLR0913  # which network, in which numbers, on what
    net: nn.Module,
    model: Model,
    images: Images,
    memo: Memo,
    *,
    left_float: frozenset[str] = frozenset(),
    step: int = 1,
) -> Scores:
    """What `net` says to every `step`-th image, asked only once in a run.

    `model` says how it is fed; left_float: see `reference_of`. `net` stays where it is.
    """
    whole = (left_float, images.digest, len(images), 1)
    if step > 1 and memo.known(net, whole):
        return network_scores(net, model, images, memo, left_float=left_float)[::step]

    def ask() -> Scores:
        asked = reference_of(net, left_float=left_float)
        with meta.evaluating(asked):
            return scores_of(
                network_answers(asked),
                model,
                images.only(slice(None, None, step)),
                title="judging by held-out images",
            )

    return memo.value(net, (left_float, images.digest, len(images), step), ask)


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


def in_batches(reference: Scores, given: Scores) -> Iterator[tuple[Scores, Scores]]:
    """Two tables of scores, a few rows at a time."""
    for at in range(0, len(given), PARITY_BATCH):
        yield reference[at : at + PARITY_BATCH], given[at : at + PARITY_BATCH]


def tells_classes(model: Model, data: Dataset) -> bool:
    """Whether the outputs of `model` are scores of classes.

    A library's architecture tells classes apart, whichever; of a user's own network
    nobody knows, unless it has as many outputs as the data classes.
    """
    return data.judges(len(model.classes)) or model.spec.code is None


def besides(data: Dataset, preprocess: Preprocess, images: Images) -> Images | None:
    """Training images, where too few are held out to tell whether INT8 kept float.

    Agreement asks for no labels, so that every image says something; those that ranges
    were measured on are a little kinder than others. None where there are enough.
    """
    missing = ENOUGH_IMAGES - len(images)
    if missing <= 0 or data.train is None or data.val is None:
        return None
    train = data.open(preprocess).train
    return None if train is None else subsampled(train, missing)


def subsampled(images: Images, most: int) -> Images:
    """Every n-th image, so that at most `most` are left, without reading any."""
    return images.only(slice(None, None, stride(images.labels, most)))


def stride(labels: npt.NDArray[np.int64], most: int) -> int:
    """A step through `labels` that takes at most `most`, of as many classes as may be.

    Where classes take turns in a list, every n-th image may be of one class.
    """
    least = max(1, -(-len(labels) // most))
    steps = range(least, least + 5)
    return max(steps, key=lambda step: (len(np.unique(labels[::step])), -step))
