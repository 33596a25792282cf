"""A mean over a map and nothing else, as a file of either format, and its worst sums.

`PROGRAM` answers such files without this project, so that it runs on any machine:
`python -c PROGRAM FOLDER`, natively, under `qemu-x86_64 -cpu Haswell`, or with
`qemu-aarch64 -cpu cortex-a72` on an ARM system's files.
"""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import torch
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from compress.int8 import kernels
from export.qparams import HIGH, LOW, Grid
from export.tflite.flatbuffer import OPERATORS, TYPES, add_tensor, written

Codes = npt.NDArray[np.int8]

PROGRAM: Final = """
import sys, pathlib, numpy as np, onnxruntime as ort
from ai_edge_litert.interpreter import Interpreter
options = ort.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
for file in sorted(pathlib.Path(sys.argv[1]).glob("*.npy")):
    if ".answer" in file.name:
        continue
    maps = np.load(file)  # int8 [1, channels, height, width]
    lite = Interpreter(str(file.with_suffix(".tflite")), num_threads=1)
    lite.allocate_tensors()
    last = np.ascontiguousarray(maps.transpose(0, 2, 3, 1))
    lite.set_tensor(lite.get_input_details()[0]["index"], last)
    lite.invoke()
    one = lite.get_tensor(lite.get_output_details()[0]["index"]).reshape(-1)
    np.save(file.with_suffix(".answer.lite.npy"), one)
    for kind in ("uint8", "int8"):
        model = str(file.with_suffix("." + kind + ".onnx"))
        session = ort.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        shift = 128 if kind == "uint8" else 0
        codes = (maps.astype(np.int32) + shift).astype(kind)
        (two,) = session.run(None, {"codes": codes})
        answer = (two.astype(np.int32) - shift).reshape(-1)
        np.save(file.with_suffix(".answer." + kind + ".npy"), answer)
"""


class Mean(NamedTuple):
    """A mean over maps of `sides`, from one grid to another."""

    sides: tuple[int, int]
    source: Grid
    target: Grid

    @property
    def count(self) -> int:
        """How many numbers it is the mean of."""
        return self.sides[0] * self.sides[1]


def worst_maps(mean: Mean) -> Codes:
    """Maps [1, channels, height, width] whose sums lie next to every tie, both sides.

    Every kernel is monotonic in the sum: one that rounds these as another does rounds
    all sums so.
    """
    n, (_, zero), (_, start) = mean.count, mean.source, mean.target
    share = mean.source.scale / mean.target.scale / n
    ties = np.arange(LOW - start - 1, HIGH - start + 2) + 0.5
    nearest = np.floor(ties / share)[:, None] + np.arange(-1, 3)
    ends = [LOW * n, HIGH * n]
    sums = np.unique(np.clip(nearest + zero * n, *ends).astype(np.int64))
    least, more = np.divmod(sums, n)
    codes = least[:, None] + (np.arange(n) < more[:, None])
    return codes.astype(np.int8).reshape(1, -1, *mean.sides)


def simulated(mean: Mean, maps: Codes) -> npt.NDArray[np.int64]:
    """The codes that the simulation's kernel gives, [channels]."""
    steps = torch.from_numpy(maps.astype(np.float32)) - mean.source.zero_point
    real = kernels.global_average(
        steps * mean.source.scale, mean.source, mean.target
    ).double()
    codes = torch.round(real / mean.target.scale) + mean.target.zero_point
    found: npt.NDArray[np.int64] = codes.long().numpy().reshape(-1)
    return found


def write(mean: Mean, maps: Codes, folder: Path, name: str) -> None:
    """Write NAME.npy, NAME.tflite, NAME.uint8.onnx and NAME.int8.onnx."""
    np.save(folder / f"{name}.npy", maps)
    content = _tflite(mean, maps.shape[1])
    (folder / f"{name}.tflite").write_bytes(content)
    for kind, shift in (("uint8", 128), ("int8", 0)):
        model = _onnx(mean, maps.shape[1], np.dtype(kind), shift)
        onnx.save(model, folder / f"{name}.{kind}.onnx")


def _tflite(mean: Mean, channels: int) -> bytes:
    """A file of one MEAN."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    graph.tensors = []

    def tensor(name: bytes, shape: list[int], grid: Grid) -> int:
        made = schema.QuantizationParametersT()
        made.scale = np.array([grid.scale], np.float32)
        made.zeroPoint = np.array([grid.zero_point], np.int64)
        return add_tensor(model, name=name, shape=shape, dtype=TYPES.INT8, grid=made)

    source = tensor(b"codes", [1, *mean.sides, channels], mean.source)
    axes = add_tensor(
        model,
        name=b"axes",
        shape=[2],
        dtype=TYPES.INT32,
        values=np.array([1, 2], np.int32),
    )
    target = tensor(b"means", [1, 1, 1, channels], mean.target)
    code, step = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = OPERATORS.MEAN
    code.version = 2
    step.inputs = np.array([source, axes], np.int32)
    step.outputs = np.array([target], np.int32)
    step.builtinOptionsType = schema.BuiltinOptions.ReducerOptions
    step.builtinOptions = schema.ReducerOptionsT()
    step.builtinOptions.keepDims = True
    model.operatorCodes, graph.operators = [code], [step]
    graph.inputs, graph.outputs = (np.array([each]) for each in (source, target))
    return written(model)


def _onnx(
    mean: Mean, channels: int, kind: np.dtype[np.generic], shift: int
) -> onnx.ModelProto:
    """A file of one GlobalAveragePool between DQ and Q, which are one kernel."""
    constants, ends = [], {}
    for name, grid in (("source", mean.source), ("target", mean.target)):
        scale = np.array(grid.scale, np.float32)
        zero = np.array(grid.zero_point + shift, kind)
        ends[name] = [f"{name}_scale", f"{name}_zero"]
        constants += [
            numpy_helper.from_array(value, place)
            for value, place in zip((scale, zero), ends[name], strict=True)
        ]
    nodes = [
        helper.make_node("DequantizeLinear", ["codes", *ends["source"]], ["real"]),
        helper.make_node("GlobalAveragePool", ["real"], ["mean"]),
        helper.make_node("QuantizeLinear", ["mean", *ends["target"]], ["means"]),
    ]
    number = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}[kind.name]
    sides = {"codes": mean.sides, "means": (1, 1)}
    edges = {
        name: helper.make_tensor_value_info(name, number, [1, channels, *each])
        for name, each in sides.items()
    }
    graph = helper.make_graph(
        nodes, "mean", [edges["codes"]], [edges["means"]], constants
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)
