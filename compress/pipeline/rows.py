"""A model's line in the report: the costs_of of a network after every stage."""

from collections.abc import Sequence
from dataclasses import dataclass

from compress.context.context import RunContext
from compress.context.latency_target import LatencyTarget
from compress.context.records import Record
from compress.data.dataset import Dataset
from compress.evaluation.accuracy import Answered, answered
from compress.evaluation.costs import costs_of
from compress.evaluation.scores import network_scores
from compress.models.model import Model
from compress.models.stage_result import Findings, StageResult
from compress.recipe.stages import STAGES


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model and its line.

    given: what it answered, None where labels do not fit; findings, latency: of the
    stage that made it.
    """

    name: str
    model: Model
    record: Record
    given: Answered | None = None
    findings: Findings | None = None
    latency: LatencyTarget | None = None

    @property
    def top1(self) -> float | None:
        """The share of right answers."""
        return self.given.accuracy.top1 if self.given else None


def row_of(
    name: str, found: StageResult, data: Dataset, context: RunContext, *, seconds: float
) -> Row:
    """Count what a stage gave; accuracy only where it knows the data's classes."""
    model = found.model
    context.console.detail(f"costs_of: {name}")
    costs = costs_of(model)
    known = data.judges(len(model.classes))
    given = None
    if known:
        images = data.images(model.preprocess)
        scores = network_scores(model.net, model, images, context.memo)
        given = answered(scores, images.labels)
    right = given.accuracy if given else None
    return Row(
        name=name,
        model=model,
        given=given,
        findings=found.findings,
        latency=found.latency,
        record={
            "stage": name,
            "model": model.spec.name,
            "input_size": model.preprocess.size,
            "params": costs.params,
            "macs": costs.macs,
            "size_bytes": costs.size_bytes,
            "activation_bytes": costs.activation_bytes,
            "training_bytes": costs.training_bytes,
            "top1": right.top1 if right else None,
            "top5": right.top5 if right else None,
            "images": right.images if right else None,
            "seconds": round(seconds, 3),
        },
    )


def chain_of(rows: Sequence[Row]) -> tuple[Row, ...]:
    """What the stages made of each other, beginning with what the run was given."""
    return tuple(row for row in rows if row.name == "start" or row.name in STAGES)


def last_float(rows: Sequence[Row]) -> Row | None:
    """The float network that a quantized one at the end was made from."""
    backwards = reversed(chain_of(rows))
    floats = (row for row in backwards if row.model.precision == "float")
    return next(floats, None)
