"""What every stage is: hyper-parameters as fields, one verb as the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compress.data.catalogue import Catalogue
    from compress.job import Job
    from compress.models.model import Model


class Stage(Protocol):
    """A frozen pydantic record of hyper-parameters that turns a model into another.

    A stage returns a model and nothing else: the runner measures. Heavy libraries are
    imported inside its methods, so that a recipe is checked before any of them loads.
    """

    def guide(self, model: Model, data: Catalogue, job: Job) -> Model | None:
        """The model that `model` will learn from, ready; None where there is none."""
        ...

    def __call__(
        self, model: Model, data: Catalogue, job: Job, guide: Model | None
    ) -> Model:
        """The work; `model`, `data` and `guide` are left as they are."""
        ...

    def rivals(self) -> Mapping[str, Stage]:
        """Other ways to spend the same effort on the same model, to compare with."""
        ...


class Alone:
    """A stage that has no model to learn from but its own, and no rival."""

    def guide(self, model: Model, data: Catalogue, job: Job) -> None:
        """None: what there is to learn from has its row already."""
        del model, data, job

    def rivals(self) -> Mapping[str, Stage]:
        """None."""
        return {}
