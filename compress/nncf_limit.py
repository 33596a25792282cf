"""How much may be lost by NNCF's quantisation, and how much was."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from compress.data.catalogue import Catalogue
from compress.data.data import Images
from compress.int8.calibration import batches_of
from compress.int8.nncf_engine import Control
from compress.models.model import Model
from compress.prove import THREADS
from compress.report.units import percent
from export.verify import Scores
from runtime.artifact import Artifact
from runtime.session import open_session

if TYPE_CHECKING:
    from compress.stages.ptq import Ptq


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a limit came to on held-out images, fractions of them.

    measure: `top1`, right answers, or `agreement`, float32's answers kept.
    """

    measure: Literal["top1", "agreement"]
    float32: float
    int8: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether no more was lost than allowed; fractions are exact to 1e-9."""
        return self.float32 - self.int8 <= self.allowed + 1e-9

    def as_record(self) -> dict[str, object]:
        """Plain data."""
        return {**asdict(self), "holds": self.holds}

    def as_text(self) -> str:
        """Say it in one clause."""
        lost = "right answers" if self.measure == "top1" else "float32's answers"
        return (
            f"{percent(self.float32 - self.int8)} of {lost} lost, "
            f"{percent(self.allowed)} allowed: "
            f"{'holds' if self.holds else 'does not hold'}"
        )


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What may be lost; `rights`: the class that each of `shown` should be given."""

    measure: Literal["top1", "agreement"]
    allowed: float
    model: Model
    shown: Images
    rights: tuple[int, ...]

    def control(self) -> Control:
        """The same for NNCF."""

        def judged() -> Iterator[tuple[Scores, int]]:
            rights = iter(self.rights)
            for batch in batches_of(self.model, self.shown)():
                for image in batch:
                    yield image[None].contiguous().numpy(), next(rights)

        return Control(judged, self.allowed)

    def kept(self, before: Sequence[int], after: Sequence[int]) -> Kept:
        """How the float file and the INT8 file answered."""
        float32, int8 = (
            float(np.mean(np.equal(given, self.rights))) for given in (before, after)
        )
        return Kept(
            measure=self.measure, float32=float32, int8=int8, allowed=self.allowed
        )


def limit_of(
    options: "Ptq", model: Model, data: Catalogue, plain: Artifact, shown: Images
) -> Limit | None:
    """The limit that was given; without labels that fit, it is on changed answers."""
    allowed = options.accuracy_drop if options.flips is None else options.flips
    if allowed is None:
        return None
    by_labels = options.flips is None and data.judges(len(model.classes))
    if by_labels:
        rights = shown.labels.tolist()
    else:
        with closing(open_session(plain, threads=THREADS)) as session:
            rights = [
                int(best)
                for batch in batches_of(model, shown)()
                for best in session.run(batch.contiguous().numpy()).argmax(axis=1)
            ]
    return Limit(
        measure="top1" if by_labels else "agreement",
        allowed=allowed,
        model=model,
        shown=shown,
        rights=tuple(rights),
    )
