"""What a run found, as far as its verdict hangs on it, and what its files are for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compress.proof import Proof, Proven
from compress.recipe import Recipe
from compress.reference import Reference
from compress.report.records import Record
from compress.rows import Row
from runtime.target import target

LOCAL: Final = "this machine"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a run found, as far as its verdict hangs on it.

    reference: what accuracy is held against; trained: whether the network ever learned;
    quantisation: what the last stage that quantised found, empty where none did.
    """

    recipe: Recipe
    folder: Path
    rows: Sequence[Row]
    proof: Proof
    reference: Reference | None
    trained: bool
    quantisation: Record


def devices_of(file: Proven, found: Evidence) -> tuple[str, ...]:
    """What a file is for: devices that the recipe names, else this machine."""
    if found.proof.measured(file) is None and file.artifact.target is not None:
        return (file.artifact.target,)
    named = [target(name) for name in found.recipe.export.target]
    suits = tuple(
        each.name
        for each in named
        if each.format == file.artifact.format == "tflite"
        or each.name == file.artifact.target
    )
    return suits or (LOCAL,)


def timed_for_its_device(file: Proven, found: Evidence) -> bool:
    """Whether this machine, which timed the file, is what the file is for.

    One TFLite file serves every device; milliseconds of this one are not theirs.
    """
    elsewhere = file.artifact.format == "tflite" and devices_of(file, found) != (LOCAL,)
    return found.proof.measured(file) is not None and not elsewhere
