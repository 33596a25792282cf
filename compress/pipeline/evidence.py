"""What a run found, as far as its verdict hangs on it, and what its files are for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from compress.pipeline.exported import Delivery, ExportedFile
from compress.pipeline.reference import Reference
from compress.pipeline.rows import Row
from compress.prediction.prediction import Prediction
from compress.recipe.recipe import Recipe
from compress.report.records import Record
from runtime.backends.table import ran_by
from runtime.target import LOCAL as HERE
from runtime.target import target

LOCAL: Final = "this machine"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a run found, as far as its verdict hangs on it.

    reference: what accuracy is held against; trained: whether the network ever learned;
    quantization: what the last stage that quantized found, empty where none did;
    predictions: of delivered files, by name, where the budget asks for them.
    """

    recipe: Recipe
    folder: Path
    rows: Sequence[Row]
    proof: Delivery
    reference: Reference | None
    trained: bool
    quantisation: Record
    predictions: Mapping[str, Prediction] = field(default_factory=dict)


def devices_of(file: ExportedFile, found: Evidence) -> tuple[str, ...]:
    """What a file is for: devices that the recipe names, else this machine."""
    named = tuple(name for name in found.recipe.export.target if suits(name, file))
    layout = file.artifact.target
    if not named and layout is not None and found.proof.measured(file) is None:
        return (layout,)
    return named or (found.recipe.export.device or LOCAL,)


def suits(name: str, file: ExportedFile) -> bool:
    """Whether a file is one for the target `name`, by format, layout and numbers."""
    wanted, artifact = target(name), file.artifact
    if name == HERE or wanted.format != artifact.format:
        return False
    if wanted.layout is not None:
        return artifact.target == wanted.layout.name
    return wanted.format == "tflite" or artifact.dtype == wanted.dtype


def timed_for_its_device(file: ExportedFile, found: Evidence) -> bool:
    """Whether what timed the file is what the file is for.

    One TFLite file serves every device; milliseconds of this machine are not theirs,
    those of a device that the recipe names are, if it is such a device and runs the
    file by what its targets run it by.
    """
    measured, asked = found.proof.measured(file), found.recipe.export
    if measured is None:
        return False
    if asked.device is None:
        return file.artifact.target is not None or devices_of(file, found) == (LOCAL,)
    named = [target(name) for name in asked.target if suits(name, file)]
    return all(
        each.lacking(measured.machine) is None
        and ran_by(each.runtime, measured.runtime)
        for each in named
    )
