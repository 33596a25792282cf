"""What a run's files will be, as far as a stage has to know that before they are."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Aim:
    """Numbers of the files that are shipped, and the device that measures them.

    device: its name in the inventory; None for this machine. threads: of an inference
    there. runtime: what executes the files, a name of `runtime.backends.table`; None
    where that is not one for all.
    """

    dtype: Literal["float32", "int8"] = "float32"
    device: str | None = None
    threads: int = 1
    runtime: str | None = "onnxruntime"
