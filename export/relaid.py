"""A model file's stand-in: the same INT8 graph, laid out for another target's kernels.

An ONNX file for ARM says nothing by how it runs on x86: its integers are stored in a
way whose kernels saturate there. Codes and zero points of activations move by 128,
weights may, and every number that they mean stays what it is; so the file that is made
of the first one's own weights and grids computes the same function, and runs exactly.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnx_ir as ir

from export.lower import IR_VERSION
from export.lowering.graph import constant, given, nodes_of, numbers
from export.lowering.names import named_
from export.lowering.normal import merged_
from export.lowering.weights import unsigned_, unsigned_weights_
from runtime.artifact import Artifact
from runtime.files import sha256_of
from runtime.target import Layout

# Operators that work on codes themselves, and the places of the codes they are given.
_ON_CODES: Final = {"Clip": (1, 2), "Pad": (2,)}
_SHIFT: Final = 128


def relaid(artifact: Artifact, layout: Layout, folder: Path) -> Artifact:
    """Write what an INT8 ONNX file computes as x86 runs it, into `folder`.

    layout: `x86-vnni` or `x86-avx2`. The file has the other one's name, so that
    sentences about it are about that one. `artifact` is left as it is.
    """
    model = ir.from_proto(onnx.load(artifact.path))
    if layout.activations == "uint8":
        _codes_move_(model.graph)
        unsigned_(model.graph)
    if layout.saturates:
        unsigned_weights_(model.graph)
    merged_(model)
    named_(model.graph)
    made = ir.to_proto(model)
    made.ir_version = IR_VERSION
    del made.graph.value_info[:]
    path = folder / artifact.path.name
    onnx.save(made, path)
    return replace(
        artifact,
        path=path,
        target=layout.name,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
    )


def _codes_move_(graph: ir.Graph) -> None:
    """Move codes that operators are given as constants by 128, as activations move."""
    for node in nodes_of(graph, *_ON_CODES):
        for place in _ON_CODES[node.op_type]:
            codes = numbers(given(node, place))
            if codes is not None and codes.dtype == np.int8:
                moved = (codes.astype(np.int32) + _SHIFT).astype(np.uint8)
                node.replace_input_with(place, constant(graph, moved))
