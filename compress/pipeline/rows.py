"""A model's line in the report: the costs_of of a network after every stage."""

from collections.abc import Sequence
from dataclasses import dataclass

from compress.context.context import RunContext
from compress.data.dataset import Catalog
from compress.evaluation.costs import Answered, answered, costs_of
from compress.int8.simulate import QuantizedNet
from compress.models.model import Model
from compress.recipe.stages import STAGES
from compress.report.records import Record


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model and its line; given: what it answered, None where labels do not fit."""

    name: str
    model: Model
    record: Record
    given: Answered | None = None

    @property
    def top1(self) -> float | None:
        """The share of right answers."""
        return self.given.accuracy.top1 if self.given else None


def row_of(
    name: str, model: Model, data: Catalog, context: RunContext, *, seconds: float
) -> Row:
    """Take the costs_of of `model`; accuracy only where it knows the data's classes."""
    context.console.detail(f"costs_of: {name}")
    costs = costs_of(model)
    known = data.judges(len(model.classes))
    given = answered(model, data.images(model.preprocess)) if known else None
    found = given.accuracy if given else None
    return Row(
        name=name,
        model=model,
        given=given,
        record={
            "stage": name,
            "model": model.spec.name,
            "input_size": model.preprocess.size,
            "params": costs.params,
            "macs": costs.macs,
            "size_bytes": costs.size_bytes,
            "activation_bytes": costs.activation_bytes,
            "training_bytes": costs.training_bytes,
            "top1": found.top1 if found else None,
            "top5": found.top5 if found else None,
            "images": found.images if found else None,
            "seconds": round(seconds, 3),
        },
    )


def chain_of(rows: Sequence[Row]) -> tuple[Row, ...]:
    """What the stages made of each other, beginning with what the run was given."""
    return tuple(row for row in rows if row.name == "start" or row.name in STAGES)


def last_float(rows: Sequence[Row]) -> Row | None:
    """The float network that a quantized one at the end was made from."""
    backwards = reversed(chain_of(rows))
    floats = (row for row in backwards if not isinstance(row.model.net, QuantizedNet))
    return next(floats, None)
