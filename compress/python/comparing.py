"""Two networks or files asked the same images: how far they agree, how good each is."""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from compress.context.context import RunContext
from compress.data.dataset import Dataset
from compress.evaluation.scores import (
    file_answers,
    in_batches,
    network_scores,
    scores_of,
)
from compress.evaluation.stand_in import answering
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.python.call import Call
from compress.python.data import Data
from compress.python.loading import load
from compress.python.network import Network, known
from compress.python.result import Exported, Result, Verified
from compress.quantization.evaluator import Metric, top1
from export.parity import Scores, parity_of
from runtime.artifact import FORMATS, Artifact
from runtime.contained import try_out
from runtime.errors import InputRejectedError
from runtime.preprocess import Preprocess

Subject: TypeAlias = Network | Exported | str | Path


def verify(  # noqa: PLR0913  # what, on what, and how it is fed
    a: Subject,
    b: Subject,
    data: Data,
    *,
    metric: Metric | None = None,
    size: int | None = None,
    preprocess: Preprocess | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Verified:
    """Ask `a` and `b` the same images and compare what they say; `a` is the reference.

    a, b: networks (see `prune`), model files (.onnx, .tflite, .pte), what `export` gave
    back, or folders that `save` or a run wrote. data: see `dataset`; of data that
    `dataset` divided, or that a name means, the held-out images are asked, of any other
    all. metric: a function of scores [n, classes] and labels [n], more is better, for
    both, instead of top-1. size, preprocess: of networks about which nothing is known,
    by default as the other one is fed. Raises ParityError where the two give scores of
    different shapes or no numbers, InputRejectedError for a file that cannot be run.
    """
    one, other = _opened(a), _opened(b)
    call = Call("verify", size, preprocess, seed, "cpu", quiet)
    found = call.judging(data)
    with call.context() as context:
        first = _said(one, call.fed(_fed(one) or _fed(other)), found, context)
        second = _said(other, call.fed(_fed(other) or _fed(one)), found, context)
    tells = found.judges(first.scores.shape[1])
    judge = metric or (top1 if tells else None)
    pairs = in_batches(first.scores, second.scores)
    return Verified(
        parity=parity_of(pairs, name=second.name, classes=tells),
        a=None if judge is None else first.judged(judge),
        b=None if judge is None else second.judged(judge),
    )


class _Said(NamedTuple):
    """What somebody said: scores float32 [n, outputs]; labels int64 [n], the right."""

    name: str
    scores: Scores
    labels: npt.NDArray[np.int64]

    def judged(self, metric: Metric) -> float:
        """How good it is."""
        scores, labels = np.array(self.scores), np.array(self.labels)
        return metric(torch.from_numpy(scores), torch.from_numpy(labels))


def _opened(subject: Subject) -> Network | Artifact:
    """A network, or a file that was looked at."""
    if isinstance(subject, Exported):
        return subject.artifact
    if not isinstance(subject, str | Path):
        return subject
    path = Path(subject)
    return Artifact.read(path) if path.suffix in FORMATS else load(path)


def _fed(subject: Network | Artifact) -> Preprocess | None:
    """How something is fed, where that is known."""
    if isinstance(subject, Artifact):
        return subject.preprocess
    model = subject.model if isinstance(subject, Result) else known(subject)
    return None if model is None else model.preprocess


def _said(
    subject: Network | Artifact, call: Call, data: Dataset, context: RunContext
) -> _Said:
    """The answers of a network or a file, fed as it is known to be or `call` says."""
    if not isinstance(subject, Artifact):
        model = call.model(subject, data)
        images = data.images(model.preprocess)
        scores = network_scores(model.net, model, images, context.memo)
        return _Said(model.spec.name, scores, images.labels)
    name = subject.path.name
    if call.preprocess is None:
        raise InputRejectedError(
            f"{subject.path}: does not say how its images are prepared; give "
            "preprocess=compress.Preprocess(…)"
        )
    fed = Model(
        spec=ModelSpec(name=name),
        net=nn.Identity(),
        preprocess=data.asked(call.preprocess),
        classes=subject.classes,
    )
    images = data.images(fed.preprocess)
    try_out(subject)
    with closing(answering(subject)) as session:
        scores = scores_of(file_answers(session), fed, images)
    return _Said(name, scores, images.labels)
