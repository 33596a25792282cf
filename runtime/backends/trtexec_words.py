"""Where trtexec is, and its two dialects: words for TensorRT up to 10, and for 11.

From 11 on networks are strongly typed only, so flags of precision are gone, and what
kept a timing quiet is a default that warns when it is asked for (TensorRT 11 release
notes). Before, both have to be said.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runtime.artifact import Artifact

PROGRAM: Final = "trtexec"
JETPACK: Final = "/usr/src/tensorrt/bin"
# Where NVIDIA puts it, which is on nobody's path.
_PLACES: Final = (
    JETPACK,
    "/opt/tensorrt/bin",
    "/usr/local/tensorrt/bin",
)
# Nothing makes it say its version and its GPU but a build, so one of nothing.
WHO: Final = f"--onnx={os.devnull}"
_STRONGLY_TYPED_ONLY: Final = 11
# As NVIDIA's guide times: warm first, then for so long and so often at least.
_WARM_UP_MS: Final = 500
_SECONDS: Final = 10
_PROFILED: Final = 50  # inferences with a clock at every layer


def located() -> str | None:
    """Where trtexec is; None if it is not here."""
    folders = os.pathsep.join((os.environ.get("PATH", os.defpath), *_PLACES))
    return shutil.which(PROGRAM, path=folders)


@dataclass(frozen=True)
class Dialect:
    """What a version of trtexec wants to be told; version: (major, minor, patch)."""

    version: tuple[int, int, int]

    @property
    def strongly_typed(self) -> bool:
        """Whether the file alone says which numbers are computed in."""
        return self.version[0] >= _STRONGLY_TYPED_ONLY

    def build(self, artifact: "Artifact", engine: Path) -> list[str]:
        """Build an engine of a file; no inference is run."""
        words = [
            f"--onnx={artifact.path}",
            f"--saveEngine={engine}",
            "--skipInference",
            "--profilingVerbosity=detailed",
        ]
        if self.strongly_typed:
            return words
        # What stays float around INT8 is faster in half precision, which an engine
        # that is not strongly typed has to be allowed; float32 files stay as they are.
        allowed = {"int8": ["--int8", "--fp16"], "float16": ["--fp16"]}
        return [*words, *allowed.get(artifact.dtype or "float32", [])]

    def time(
        self, engine: Path, times: Path, *, runs: int, seconds: float | None
    ) -> list[str]:
        """Time inferences: at least `runs` of them, and for `seconds`."""
        words = [
            f"--loadEngine={engine}",
            f"--warmUp={_WARM_UP_MS}",
            f"--duration={_SECONDS if seconds is None else max(1, round(seconds))}",
            f"--iterations={runs}",
            "--percentile=50,90,99",
            f"--exportTimes={times}",
        ]
        if self.strongly_typed:
            return words
        return [*words, "--noDataTransfers", "--useCudaGraph", "--useSpinWait"]

    def profile(self, engine: Path, profile: Path, layers: Path) -> list[str]:
        """Time every layer, in a run of its own: clocks in between cost time."""
        words = [
            f"--loadEngine={engine}",
            f"--iterations={_PROFILED}",
            "--profilingVerbosity=detailed",
            f"--exportProfile={profile}",
            f"--exportLayerInfo={layers}",
        ]
        return words if self.strongly_typed else [*words, "--separateProfileRun"]
