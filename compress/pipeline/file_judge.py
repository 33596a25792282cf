"""A file asked real images, and held against its network and against float."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from torch import nn

from compress.data.data import Images
from compress.data.dataset import Catalogue
from compress.evaluation.scores import (
    PARITY_BATCH,
    PARITY_IMAGES,
    besides,
    file_answers,
    network_answers,
    scores_of,
    tells_classes,
    thinned,
)
from compress.models.model import Model
from compress.models.network import float_of, int8_of, reference_of
from compress.pipeline.export_plan import Wanted
from compress.pipeline.exported import Proven
from compress.pipeline.mixed_precision import Placed
from compress.quantization.symmetric import grids_of
from export.exporters import EXPORTERS
from export.parity import Scores, parity_of
from runtime.artifact import Artifact
from runtime.session import Session


@dataclass(frozen=True, kw_only=True)
class FileJudge:
    """Asks files the same images as their networks; a network is asked only once.

    before: the float model that a quantised one was made from; None where there is
    none, then its own graph in float stands for it.
    """

    data: Catalogue
    before: Model | None
    # By network, the operators of it that stay float, and the images; a network is
    # held, so that no other takes its place.
    _kept: dict[tuple[nn.Module, frozenset[str], str, int], Scores] = field(
        default_factory=dict
    )

    def proven(self, asked: Wanted, session: Session, found: Placed) -> Proven:
        """Compare a file with its network, and count its right answers."""
        net = asked.reference
        images = self.images(asked.model)
        reference = self._network(net, asked.model, images, found.left_float)
        file = self.judged(asked.role, asked.model, session, reference)
        int8 = int8_of(net)
        own = None if int8 is None else grids_of(int8, half=asked.half)
        return replace(file, placement=found.record, grids=own)

    def judged(
        self, role: str, model: Model, session: Session, reference: Scores | None
    ) -> Proven:
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
        return Proven(
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
        before = self.before
        if before is None or before.precision == "int8":
            before = model
        return self._network(float_of(before.net), before, images, frozenset())

    def _network(
        self, net: nn.Module, model: Model, images: Images, left_float: frozenset[str]
    ) -> Scores:
        """The answers of `net` with these operators in float."""
        key = (net, left_float, images.digest, len(images))
        if key not in self._kept:
            asked = reference_of(net, left_float=left_float)
            self._kept[key] = scores_of(network_answers(asked), model, images)
        return self._kept[key]


def _rows(reference: Scores, given: Scores) -> Iterator[tuple[Scores, Scores]]:
    """Two tables of scores, a few rows at a time."""
    for at in range(0, len(given), PARITY_BATCH):
        yield reference[at : at + PARITY_BATCH], given[at : at + PARITY_BATCH]


def int8_share(artifact: Artifact) -> float | None:
    """The share of the MACs that run in INT8, counted in the file itself.

    None where its format does not let us look.
    """
    if artifact.dtype != "int8":
        return 0.0
    return EXPORTERS[artifact.format].int8_share(artifact.path)
