"""What a stage gives back: the model it made, and what it found out on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from compress.context.latency_target import LatencyTarget
from compress.models.model import Model
from runtime.files import read_json, write_json

Kind = Literal["pruning", "sparsity", "factorisation", "quantisation"]
KINDS: Final[tuple[Kind, ...]] = (
    "pruning",
    "sparsity",
    "factorisation",
    "quantisation",
)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A stage's record for the report; the runner writes it, and reads it back."""

    kind: Kind
    record: Mapping[str, object]

    @property
    def file(self) -> str:
        """Its name in the stage's folder."""
        return f"{self.kind}.json"

    def write(self, folder: Path) -> None:
        """Keep it in `folder`, where a stage's model is."""
        write_json(folder / self.file, self.record, sealed=True)

    @classmethod
    def read(cls, folder: Path) -> "Findings | None":
        """What `write` kept in `folder`; None where there is nothing."""
        for kind in KINDS:
            path = folder / cls(kind=kind, record={}).file
            if path.is_file():
                return cls(kind=kind, record=read_json(path))
        return None


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """A model, findings about it, and what else the report counts beside it.

    references: models that it learned from, by role, such as "teacher"; latency: what
    it was asked for in latency, and what it predicts.
    """

    model: Model
    findings: Findings | None = None
    references: Mapping[str, Model] = field(default_factory=dict)
    latency: LatencyTarget | None = None
