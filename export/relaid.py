"""A model file's stand-in: the same INT8 graph, laid out for another target's kernels.

An ONNX file for ARM says nothing by how it runs on x86: its integers are stored in a
way whose kernels saturate there. Codes and zero points of activations move by 128,
weights may, and every number that they mean stays what it is; so the file that is made
of the first one's own weights and grids computes the same function, and runs exactly.
"""

from dataclasses import replace
from pathlib import Path

import onnx

from export.lower import lowered
from runtime.artifact import Artifact
from runtime.files import sha256_of
from runtime.target import Target


def relaid(artifact: Artifact, target: Target, folder: Path) -> Artifact:
    """Write what an INT8 ONNX file computes as `target` runs it, into `folder`.

    It has the file's name, so that sentences about it are about that file. `artifact`
    is left as it is. What `lowered` raises is raised.
    """
    path = folder / artifact.path.name
    onnx.save(lowered(onnx.load(artifact.path), target), path)
    return replace(
        artifact,
        path=path,
        target=target.name,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
    )
