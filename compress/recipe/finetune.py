"""Fine-tune: ordinary training on labels."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from compress.models.spec import Precision
from compress.recipe.training import Training


class FineTune(Training):
    """Train on the labels alone."""

    takes: ClassVar[Precision] = "float"
    gives: ClassVar[Precision] = "float"

    epochs: int = Field(default=10, ge=1, description="passes over the training images")
