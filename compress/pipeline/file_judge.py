"""A file asked real images, and held against its network and against float."""

from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from torch import nn

from compress.context.memo import Memo
from compress.data.data import Images
from compress.data.dataset import Dataset
from compress.evaluation.scores import (
    PARITY_IMAGES,
    besides,
    file_answers,
    in_batches,
    network_scores,
    scores_of,
    stride,
    subsampled,
    tells_classes,
)
from compress.int8.symmetric_grids import grids_of
from compress.models.model import Model
from compress.models.network import float_of, int8_of
from compress.pipeline.export_plan import PlannedFile
from compress.pipeline.exported import ExportedFile
from compress.pipeline.mixed_precision import Placed
from export.exporters import EXPORTERS
from export.parity import Scores, parity_of
from runtime.artifact import Artifact
from runtime.session import Session


@dataclass(frozen=True, kw_only=True)
class FileJudge:
    """Asks files the same images as their networks; a network is asked only once.

    before: the float model that a quantized one was made from; None where there is
    none, then its own graph in float stands for it.
    """

    data: Dataset
    before: Model | None
    memo: Memo

    def proven(
        self, asked: PlannedFile, session: Session, found: Placed
    ) -> ExportedFile:
        """Compare a file with its network, and count its right answers."""
        net = asked.reference
        reference = self._network(net, asked.model, found.left_float)
        file = self.judged(asked.role, asked.model, session, reference)
        int8 = int8_of(net)
        own = None if int8 is None else grids_of(int8, half=asked.half)
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
            pairs = in_batches(reference, given)
            parity = parity_of(pairs, name=artifact.path.name, classes=classes)
        if artifact.dtype == "int8":
            net, before = self._float(model)
            pairs = in_batches(self._network(net, before), given)
            if more := besides(self.data, model.preprocess, images):
                known = network_scores(net, before, more, self.memo)
                pairs = chain(pairs, in_batches(known, scores_of(ask, model, more)))
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
        return subsampled(self.data.images(model.preprocess), PARITY_IMAGES)

    def _float(self, model: Model) -> tuple[nn.Module, Model]:
        """The float network that an INT8 file comes from, and the model it is of."""
        before = self.before
        if before is None or before.precision == "int8":
            before = model
        return float_of(before.net), before

    def _network(
        self, net: nn.Module, model: Model, left_float: frozenset[str] = frozenset()
    ) -> Scores:
        """The scores of `net`, with these operators in float, on `self.images`."""
        images = self.data.images(model.preprocess)
        step = stride(images.labels, PARITY_IMAGES)
        return network_scores(
            net, model, images, self.memo, left_float=left_float, step=step
        )


def int8_share(artifact: Artifact) -> float | None:
    """The share of the MACs that run in INT8, counted in the file itself.

    None where its format does not let us look.
    """
    if artifact.dtype != "int8":
        return 0.0
    return EXPORTERS[artifact.format].int8_share(artifact.path)
