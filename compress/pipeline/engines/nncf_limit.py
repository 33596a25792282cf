"""How much may be lost by NNCF's quantization."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.context.progress import passed
from compress.data.calibration import batches_of
from compress.data.data import Images
from compress.data.dataset import Catalog
from compress.models.model import Model
from compress.pipeline.deliver import THREADS
from compress.quantization.nncf import Control
from export.parity import Scores
from runtime.artifact import Artifact
from runtime.session import open_session

if TYPE_CHECKING:
    from compress.recipe.ptq import Ptq


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What may be lost; `rights`: the class that each of `shown` should be given."""

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


def limit_of(
    options: "Ptq", model: Model, data: Catalog, plain: Artifact, shown: Images
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
                for batch in passed("judging", batches_of(model, shown)())
                for best in session.run(batch.contiguous().numpy()).argmax(axis=1)
            ]
    return Limit(
        allowed=allowed,
        model=model,
        shown=shown,
        rights=tuple(rights),
    )
