"""Distil: a student learns from labels and from what its teacher thinks of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, Field

from compress.models.spec import ModelSpec, Precision, from_name
from compress.recipe.finetune import FineTune
from compress.recipe.quantities import Share
from compress.recipe.training import Training

if TYPE_CHECKING:
    from collections.abc import Mapping


class Distill(Training):
    """Learn from a teacher's soft answers (Hinton et al. 2015)."""

    takes: ClassVar[Precision] = "float"
    gives: ClassVar[Precision] = "float"

    # A student needs more passes than its teacher: what it is told is cheap to look up.
    epochs: int = Field(default=20, ge=1, description="passes over the training images")
    teacher: Annotated[ModelSpec, BeforeValidator(from_name)] = Field(
        description="architecture, run directory or checkpoint to learn from"
    )
    teacher_epochs: int | None = Field(
        default=None,
        ge=0,
        description="epochs of fine-tuning the teacher first; 0 never, by default only "
        "where it has no weights for this data",
    )
    temperature: float = Field(
        default=4.0, gt=0, description="softens the answers of teacher and student"
    )
    alpha: Share = Field(
        default=0.7, ge=0, le=1, description="weight of the teacher against the labels"
    )
    views: int = Field(
        default=4,
        ge=0,
        description="augmentations of each image whose answers are kept and cycled "
        "over the epochs; 0 asks the teacher anew every time",
    )
    baseline: bool = Field(
        default=False, description="also train the same student alone, to compare"
    )


def baselines(options: Distill) -> Mapping[str, FineTune]:
    """The same student trained alone, with the same budget, where that is asked for."""
    if not options.baseline:
        return {}
    return {"alone": FineTune(**options.model_dump(include=set(Training.model_fields)))}
