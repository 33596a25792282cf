"""What a stage may know about the run it is part of."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from compress.context.aim import Aim
from compress.context.console import Console
from runtime.files import cache_folder

__all__ = ["RunContext", "cache_folder", "is_main_process"]


def is_main_process() -> bool:
    """Whether this process speaks and writes for all that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Seed, device, folders and voice; handed to every stage, changed by none."""

    folder: Path  # private to the stage: checkpoints for resuming
    title: str = "train"  # what the work is called on console and in reports
    seed: int = 0
    device: str = "cpu"
    workers: int = 0
    save_seconds: float = 30.0  # between two saves of an unfinished training run
    cache: Path = field(default_factory=cache_folder)
    console: Console = field(default_factory=Console)
    aim: Aim = field(default_factory=Aim)

    def within(self, name: str, *, title: str) -> "RunContext":
        """A part of the context, with a folder and a title of its own."""
        return replace(self, folder=self.folder / name, title=title)
