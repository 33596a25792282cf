"""The two dialects of trtexec: words for TensorRT 10 and earlier, and for 11.

From 11 on networks are strongly typed only, so flags of precision are gone, and what
kept a timing quiet is a default that warns when it is asked for (TensorRT 11 release
notes). Before, both have to be said.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.artifact import Artifact

_STRONGLY_TYPED_ONLY: Final = 11
# As NVIDIA's guide times: warm first, then for so long and so often at least.
_WARM_UP_MS: Final = 500
_SECONDS: Final = 10
_PROFILED: Final = 50  # inferences with a clock at every layer


@dataclass(frozen=True)
class Dialect:
    """What a version of trtexec wants to be told; version: (major, minor, patch)."""

    version: tuple[int, int, int]

    @property
    def strongly_typed(self) -> bool:
        """Whether the file alone says which numbers are computed in."""
        return self.version[0] >= _STRONGLY_TYPED_ONLY

    def build(self, artifact: Artifact, engine: Path) -> list[str]:
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
