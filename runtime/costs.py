"""Multiply-accumulates and bytes of a file, counted by its own interpreter.

One inference without the interpreter's optimizations tells the shape of every tensor,
also where the file leaves it to the interpreter. Counted are convolutions and matrix
products; bytes are those that no cache can save: the file's weights once, and what each
of these layers reads and writes, once.
"""

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from runtime.artifact import Artifact
from runtime.errors import EdgepressError

Shape = tuple[int, ...]
_PRODUCTS: Final = ("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "QGemm")
_CONVOLUTIONS: Final = ("Conv", "ConvInteger", "QLinearConv")
_BYTES: Final = {"int8": 1, "float16": 2}
_EVENT: Final = "_kernel_time"
_FATAL_ONLY: Final = 4


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What one inference has to compute and to move.

    working_bytes: the file and its largest layer, which a cache has to hold.
    """

    macs: int
    bytes_moved: int
    working_bytes: int
    int8: bool


def count_costs(artifact: Artifact) -> Costs | None:
    """Count; None where the interpreter does not tell every layer's shapes."""
    layers = {"onnx": _onnx_layers, "tflite": _tflite_layers}.get(artifact.format)
    if layers is None:
        return None
    try:
        found = list(layers(artifact))
    except (EdgepressError, LookupError, TypeError, ValueError, AttributeError):
        return None  # an interpreter that tells less, or tells it in another way
    if not found:
        return None
    moved = [each.elements * each.width for each in found]
    weights = artifact.size_bytes - artifact.selftest_bytes
    return Costs(
        macs=sum(each.macs for each in found),
        bytes_moved=weights + sum(moved),
        working_bytes=weights + max(moved),
        int8=sum(each.macs for each in found if each.width == 1)
        > sum(each.macs for each in found) / 2,
    )


@dataclass(frozen=True)
class _Layer:
    """A convolution or product: elements read and written, bytes of each."""

    macs: int
    elements: int
    width: int


def _onnx_layers(artifact: Artifact) -> Iterator[_Layer]:
    """From ONNX Runtime's trace; unfused, it computes INT8 files in float."""
    width = _BYTES.get(artifact.dtype or "", 4)
    for kind, inputs, outputs in _trace(artifact):
        written, read = math.prod(outputs[0]), math.prod(inputs[0])
        if kind in _CONVOLUTIONS:
            weight = next(each for each in inputs[1:] if len(each) == len(outputs[0]))
            yield _Layer(written * math.prod(weight[1:]), read + written, width)
        elif kind == "ConvTranspose":
            weight = next(each for each in inputs[1:] if len(each) == len(outputs[0]))
            yield _Layer(read * math.prod(weight[1:]), read + written, width)
        elif kind in _PRODUCTS:
            yield _Layer(written * inputs[0][-1], read + written, width)


def _trace(artifact: Artifact) -> list[tuple[str, list[Shape], list[Shape]]]:
    """Each operator that ran: its kind, shapes of inputs, shapes of outputs."""
    from runtime.backends.ort import imported

    onnxruntime = imported(artifact.path)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    options.log_severity_level = _FATAL_ONLY
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "trace")
        try:
            session = onnxruntime.InferenceSession(
                str(artifact.path), options, providers=["CPUExecutionProvider"]
            )
            feed = session.get_inputs()[0]
            shape = [each if isinstance(each, int) else 1 for each in feed.shape]
            kind = np.float16 if feed.type == "tensor(float16)" else np.float32
            session.run(None, {feed.name: np.zeros(shape, kind)})
        except Exception as error:  # ONNX Runtime's errors share no narrower class
            raise ValueError(str(error)) from error
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [
        (
            event["args"]["op_name"],
            _shapes(event["args"]["input_type_shape"]),
            _shapes(event["args"]["output_type_shape"]),
        )
        for event in events
        if event.get("cat") == "Node" and str(event["name"]).endswith(_EVENT)
    ]


def _shapes(tensors: Sequence[Mapping[str, Sequence[int]]]) -> list[Shape]:
    """Shapes from `[{"float": [1, 3, 8, 8]}, …]`."""
    return [tuple(shape) for each in tensors for shape in each.values()]


def _tflite_layers(artifact: Artifact) -> Iterator[_Layer]:
    """From the interpreter's tables."""
    interpreter = _plain_interpreter(artifact.path)
    details = {each["index"]: each for each in interpreter.get_tensor_details()}
    shapes = {
        index: tuple(int(size) for size in each["shape"])
        for index, each in details.items()
    }
    for each in interpreter._get_ops_details():  # noqa: SLF001  # there is no other way
        kind = each["op_name"]
        if kind not in {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}:
            continue
        source, weight = (shapes[index] for index in each["inputs"][:2])
        written = math.prod(shapes[each["outputs"][0]])
        # [out, h, w, in], [1, h, w, out], [out, in].
        taps = weight[1:3] if kind == "DEPTHWISE_CONV_2D" else weight[1:]
        yield _Layer(
            macs=written * math.prod(taps),
            elements=math.prod(source) + written,
            width=np.dtype(details[each["outputs"][0]]["dtype"]).itemsize,
        )


def _plain_interpreter(path: Path) -> Any:  # noqa: ANN401  # of either library
    """LiteRT without delegates, which hide the layers that they take over."""
    import sys

    from runtime.backends.litert import imported
    from runtime.quiet import quiet

    interpreter, _ = imported(path)
    module = sys.modules[interpreter.__module__]
    plain = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with quiet(2):
        return interpreter(  # type: ignore[operator]
            model_path=str(path), experimental_op_resolver_type=plain
        )
