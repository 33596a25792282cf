"""What a run's files proved: records, without the work that finds them out."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.parity import Parity
from runtime.artifact import Artifact
from runtime.measurement import Comparison, Measurement


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """A file, what it proved, and what it was made of.

    parity: against the network that stands for it, None where there is none; changed:
    an INT8 file against the float network it was quantized from; answers, labels:
    int64 [images], the class that it gave each image that it was asked, and the right
    one; None where labels do not fit. proven_by: the target as whose file this one was
    asked, the same graph laid out for the kernels of this machine; None where it ran
    as it is.
    """

    role: str
    artifact: Artifact
    parity: Parity | None
    changed: Parity | None = None
    answers: npt.NDArray[np.int64] | None = None
    labels: npt.NDArray[np.int64] | None = None
    int8_macs_fraction: float | None = 0.0
    placement: Mapping[str, object] | None = None  # why parts of it are float
    grids: Mapping[str, object] | None = None  # of its target, where they are its own
    proven_by: str | None = None

    @property
    def name(self) -> str:
        """What the file is called."""
        return self.artifact.path.name

    def as_text(self) -> str:
        """What it proved, in one clause."""
        told = self.parity.as_text() if self.parity else "nothing to compare with"
        asked = f", asked as a file for {self.proven_by}," if self.proven_by else ""
        return f"{self.name}{asked} gives {told}"

    @property
    def top1(self) -> float | None:
        """The share of right answers."""
        if self.answers is None or self.labels is None:
            return None
        return float((self.answers == self.labels).mean())


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A file that was asked for and cannot be written, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Every file of a run, and the latencies, taken in turn, of those that run here."""

    files: tuple[ExportedFile, ...]
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]
    refused: tuple[Refused, ...] = ()

    @property
    def source(self) -> str:
        """The role of what the run's result was made from, beside it to compare with.

        Empty where nothing stands beside it.
        """
        made = self.files[-1].role
        others = [each.role for each in self.files if each.role != made]
        return others[-1] if others else ""

    @property
    def delivered(self) -> tuple[ExportedFile, ...]:
        """The files of what the run made; the others are there to compare with."""
        return tuple(each for each in self.files if each.role == self.files[-1].role)

    def measured(self, file: ExportedFile) -> Measurement | None:
        """The latency of `file`; None where it was not taken."""
        found = (each for each in self.measurements if each.file == file.name)
        return next(found, None)


def quantization_of(before: ExportedFile, after: ExportedFile) -> Mapping[str, object]:
    """What INT8 kept of float, where an engine made both files; see `int8.judge`."""
    changed = after.changed
    agreement = changed.argmax_agreement if changed else None
    flips = None if agreement is None else 1 - agreement
    return {
        "float32": {"accuracy": before.top1},
        "int8": {
            "accuracy": after.top1,
            "agreement": agreement,
            "flips": flips,
            "sqnr_db": changed.sqnr_db if changed else None,
            "images": changed.images if changed else None,
        },
    }
