"""What this machine runs in place of a file that is laid out for other kernels."""

from pathlib import Path

from export.onnx.exact_sums import rounds_reads
from runtime.artifact import Artifact
from runtime.machine import this_machine
from runtime.target import int8_target


def stand_in(artifact: Artifact, folder: Path) -> Artifact:
    """The file to ask here: `artifact`, or its equal for this machine, in `folder`.

    An INT8 ONNX file of another target's layout is proven by its own graph, laid out
    for the kernels that are here (`export.onnx.relayout`); every other file runs as it is, and
    so does every file on ARM, whose kernels sum exactly, or by its exact spelling
    (`export.onnx.exact_sums`). Emulation shows that the two answer alike to the bit
    (`benchmarks/arm64.py`).
    """
    layout = int8_target(this_machine()).layout
    runs_here = layout is None or artifact.target in {None, layout.name}
    on_arm = layout is not None and layout.activations == "int8"
    relayable = artifact.format == "onnx" and artifact.dtype == "int8"
    if layout is None or runs_here or on_arm or not relayable or rounds_reads(artifact):
        return artifact
    from export.onnx.relayout import relaid

    return relaid(artifact, layout, folder)
