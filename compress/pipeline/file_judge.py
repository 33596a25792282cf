"""A file asked real images, and held against its network and against float."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from compress.context.progress import passed
from compress.data.batches import evaluation_batches
from compress.data.data import Images
from compress.data.dataset import Catalog
from compress.int8.simulate import QuantizedNet
from compress.models.model import Model
from compress.pipeline.export_plan import PlannedFile
from compress.pipeline.exported import ExportedFile
from compress.pipeline.mixed_precision import Placed
from compress.quantization.symmetric import grids_of
from export.exporters import EXPORTERS
from export.parity import Answer, Scores, parity_of
from runtime.artifact import Artifact
from runtime.batch import check_scores, in_layout_of
from runtime.preprocess import Preprocess
from runtime.session import Session

# Enough to be 95 % sure of 99.6 % agreement if none differs (Wilson 1927).
PARITY_IMAGES = 1000
# Enough for 95 % to be sure of 90 % where one answer in twenty changes.
ENOUGH_IMAGES = 200
PARITY_BATCH = 32  # a file with a fixed batch is asked image by image


@dataclass(frozen=True, kw_only=True)
class FileJudge:
    """Asks files the same images as their networks; a network is asked only once.

    before: the float model that a quantized one was made from; None where there is
    none, then its own graph in float stands for it.
    """

    data: Catalog
    before: Model | None
    # By network, the operators of it that stay float, and the images; a network is
    # held, so that no other takes its place.
    _kept: dict[tuple[nn.Module, frozenset[str], str, int], Scores] = field(
        default_factory=dict
    )

    def proven(
        self, asked: PlannedFile, session: Session, found: Placed
    ) -> ExportedFile:
        """Compare a file with its network, and count its right answers."""
        net = asked.reference
        images = self.images(asked.model)
        reference = self._network(net, asked.model, images, found.left_float)
        file = self.judged(asked.role, asked.model, session, reference)
        own = None
        if isinstance(net, QuantizedNet):
            own = grids_of(net, half=asked.half)
        return replace(file, placement=found.record, grids=own)

    def judged(
        self, role: str, model: Model, session: Session, reference: Scores | None
    ) -> ExportedFile:
        """A file's answers; `reference` are the scores it has to repeat, if any."""
        artifact, images = session.artifact, self.images(model)

        ask = file_answers(session)
        given = scores_of(ask, model, images)
        labels_fit = self.data.judges(len(model.classes))
        classes = tells_classes(model, self.data)
        parity = changed = None
        if reference is not None:
            pairs = _rows(reference, given)
            parity = parity_of(pairs, name=artifact.path.name, classes=classes)
        if artifact.dtype == "int8":
            pairs = _rows(self._float(model, images), given)
            if more := besides(self.data, model.preprocess, images):
                known = self._float(model, more), scores_of(ask, model, more)
                pairs = chain(pairs, _rows(*known))
            changed = parity_of(pairs, name=artifact.path.name, classes=classes)
        return ExportedFile(
            role=role,
            artifact=artifact,
            parity=parity,
            changed=changed,
            answers=given.argmax(axis=1) if labels_fit else None,
            labels=np.asarray(images.labels) if labels_fit else None,
            int8_macs_fraction=int8_share(artifact),
        )

    def images(self, model: Model) -> Images:
        """What every file is asked, as `model` looks at it."""
        return thinned(self.data.images(model.preprocess), PARITY_IMAGES)

    def _float(self, model: Model, images: Images) -> Scores:
        """What the float network answers that an INT8 file comes from."""
        before = self.before or model
        net = before.net.graph if isinstance(before.net, QuantizedNet) else before.net
        if isinstance(model.net, QuantizedNet) and net is not before.net:
            before, net = model, model.net.graph
        return self._network(net, before, images, frozenset())

    def _network(
        self, net: nn.Module, model: Model, images: Images, left_float: frozenset[str]
    ) -> Scores:
        """The answers of `net` with these operators in float."""
        key = (net, left_float, images.digest, len(images))
        if key not in self._kept:
            asked = reference_net(net, left_float)
            self._kept[key] = scores_of(network_answers(asked), model, images)
        return self._kept[key]


def reference_net(net: nn.Module, left_float: frozenset[str]) -> nn.Module:
    """The network that a file answers like which leaves these operators in float."""
    if not isinstance(net, QuantizedNet):
        return net
    return QuantizedNet(net.graph, net.scheme.without(left_float))


def scores_of(ask: Answer, model: Model, images: Images) -> Scores:
    """What `ask` says to each image as `model` is fed it: float32 [images, outputs]."""
    return np.concatenate(
        [
            ask(model.prepare(batch.pixels).contiguous().numpy())
            for batch in passed("proof", evaluation_batches(images, PARITY_BATCH))
        ]
    )


def tells_classes(model: Model, data: Catalog) -> bool:
    """Whether the outputs of `model` are scores of classes.

    A library's architecture tells classes apart, whichever; of a user's own network
    nobody knows, unless it has as many outputs as the data classes.
    """
    return data.judges(len(model.classes)) or model.spec.factory is None


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


def _rows(reference: Scores, given: Scores) -> Iterator[tuple[Scores, Scores]]:
    """Two tables of scores, a few rows at a time."""
    for at in range(0, len(given), PARITY_BATCH):
        yield reference[at : at + PARITY_BATCH], given[at : at + PARITY_BATCH]


def besides(data: Catalog, preprocess: Preprocess, images: Images) -> Images | None:
    """Training images, where too few are held out to tell whether INT8 kept float.

    Agreement asks for no labels, so that every image says something; those that ranges
    were measured on are a little kinder than others. None where there are enough.
    """
    missing = ENOUGH_IMAGES - len(images)
    if missing <= 0 or data.train is None or data.val is None:
        return None
    train = data.open(preprocess).train
    return None if train is None else thinned(train, missing)


def int8_share(artifact: Artifact) -> float | None:
    """The share of the MACs that run in INT8, counted in the file itself.

    None where its format does not let us look.
    """
    if artifact.dtype != "int8":
        return 0.0
    return EXPORTERS[artifact.format].int8_share(artifact.path)


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
