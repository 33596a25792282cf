"""What a TFLite file computes inside, operator by operator."""

import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.qparams import Grid
from export.tflite.flatbuffer import (
    NAMES,
    TYPES,
    graph_of,
    kind_of,
    read,
    written,
)
from runtime.artifact import Artifact
from runtime.backends.litert import LiteRTSession
from runtime.batch import Batch

_LAST_TO_FIRST = (0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one operator writes in INT8: steps of `grid`, int8, maps channels first."""

    operator: str
    grid: Grid
    steps: npt.NDArray[np.int8]


def looked_into(
    artifact: Artifact, image: Batch
) -> tuple[npt.NDArray[np.generic], tuple[Result, ...]]:
    """A file's answer to one image in its layout, and all INT8 results on the way.

    The results become further outputs, so that the file runs by the kernels that it
    always runs by. LiteRT can keep every tensor, too, but only without XNNPACK, and its
    other kernels round otherwise.
    """
    model = read(artifact.path.read_bytes())
    graph = graph_of(model)
    places, names = [], []
    for each in graph.operators:
        (place, *_) = map(int, each.outputs)
        inner = place not in graph.outputs
        if inner and graph.tensors[place].type == TYPES.INT8:
            places.append(place)
            names.append(NAMES[kind_of(model, each)])
    (answer,) = map(int, graph.outputs)
    graph.outputs = np.asarray([answer, *places], np.int32)
    model.signatureDefs = []  # they would name other outputs
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / artifact.path.name
        copy.write_bytes(written(model))
        with closing(LiteRTSession(replace(artifact, path=copy), threads=1)) as session:
            answered, *found = session.outputs(image)
    results = tuple(
        Result(operator=name, grid=_grid(graph.tensors[place]), steps=_first(steps))
        for name, place, steps in zip(names, places, found, strict=True)
    )
    return answered, results


def _grid(tensor: object) -> Grid:
    """The grid of an INT8 tensor of the file."""
    stored = tensor.quantization  # type: ignore[attr-defined]
    return Grid(float(stored.scale[0]), int(stored.zeroPoint[0]))


def _first(steps: npt.NDArray[np.generic]) -> npt.NDArray[np.int8]:
    """Maps channels first, as networks have them."""
    maps = steps.ndim == len(_LAST_TO_FIRST)
    return (steps.transpose(_LAST_TO_FIRST) if maps else steps).astype(np.int8)
