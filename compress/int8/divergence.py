"""Where an INT8 file stops computing what its network computes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from compress.int8.alignment import aligned
from compress.int8.capture import ATEN
from compress.int8.fused import KERNEL_OF
from compress.int8.grids import Grid
from compress.int8.simulate import QuantizedNet, simulated
from compress.quantizer import written
from compress.stand_in import stand_in
from runtime.artifact import Artifact
from runtime.backends.ort import imported
from runtime.batch import in_layout_of

Numbers = npt.NDArray[np.generic]

_SUFFIX: Final = "/QuantizeLinear"
# The builtin operators of TFLite that compute what a kernel of ours simulates.
_BUILTINS: Final[Mapping[object, frozenset[str]]] = {
    ATEN.conv2d.default: frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"}),
    ATEN.linear.default: frozenset({"FULLY_CONNECTED"}),
    ATEN.add.Tensor: frozenset({"ADD"}),
    ATEN.mul.Tensor: frozenset({"MUL"}),
    ATEN.adaptive_avg_pool2d.default: frozenset({"MEAN", "AVERAGE_POOL_2D"}),
}
# Logits in float may differ by this share of the largest: the order of a sum.
_ROUNDING: Final = 1e-4


class _Kernel(NamedTuple):
    """What one kernel of the network gives for an image: steps of its grid."""

    name: str
    operator: object
    grid: Grid
    steps: Numbers


class _Inside(NamedTuple):
    """A file looked into: its float answer, steps by kernel, kernels off their grid."""

    answer: Numbers
    steps: Mapping[str, Numbers]
    moved: frozenset[str] = frozenset()


def first_difference(net: QuantizedNet, file: Artifact, images: Tensor) -> str | None:
    """Name the first operator whose result differs on any image; None if none does.

    images: float32 [n, 3, size, size], looked at in turn. What the runtime fuses stays
    fused. Behind the last INT8 result it is the answer in float that can differ. An
    ExecuTorch program cannot be looked into: None.
    """
    if file.format == "executorch":
        return None
    look = _in_onnx if file.format == "onnx" else _in_tflite
    for image in torch.split(images, 1):
        kernels, answer = _results(net, image)
        inside = look(file, kernels, image)
        for each in kernels:
            # An operator that has no rounding of its own in the file says nothing.
            have = inside.steps.get(each.name, each.steps)
            if each.name in inside.moved or not np.array_equal(have, each.steps):
                return each.name
        want = answer.numpy()
        error = np.abs(inside.answer - want).max()
        if inside.answer.dtype == np.float32 and error > _ROUNDING * np.abs(want).max():
            (last,) = net.graph.graph.output_node().all_input_nodes
            return last.name
    return None


def _in_onnx(file: Artifact, kernels: Sequence[_Kernel], image: Tensor) -> _Inside:
    """The steps that an ONNX file writes; its nodes are called after the graph's."""
    import onnx

    onnxruntime = imported(file.path)
    with TemporaryDirectory() as folder:
        model = onnx.load(stand_in(file, Path(folder)).path)
    rounded = [
        node.output[0] for node in model.graph.node if node.name.endswith(_SUFFIX)
    ]
    for name in rounded:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    answer, *inner = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    found = dict(zip(rounded, inner, strict=True))
    steps = {}
    for each in kernels:
        have = found.get(f"{each.name}{_SUFFIX}")
        if have is not None and have.size == each.steps.size:
            # uint8 files count from 0, the network from -128.
            shift = 128 if have.dtype == np.uint8 else 0
            steps[each.name] = have.astype(np.int64).reshape(each.steps.shape) - shift
    return _Inside(answer, steps)


def _in_tflite(file: Artifact, kernels: Sequence[_Kernel], image: Tensor) -> _Inside:
    """The steps that a TFLite file writes; its operators run in the graph's order.

    They have no names that say more, but an operator, a shape and a grid each.
    """
    from export.tflite.inside import Result, looked_into

    answer, results = looked_into(file, in_layout_of(file, image.numpy()))

    def alike(kernel: _Kernel, result: Result) -> bool:
        able = result.operator in _BUILTINS.get(kernel.operator, ())
        return able and _sizes(kernel.steps) == _sizes(result.steps)

    def on_one_grid(kernel: _Kernel, result: Result) -> bool:
        return tuple(result.grid) == tuple(kernel.grid)

    pairs = [
        (kernels[one], results[other])
        for one, other in aligned(kernels, results, able=alike, likely=on_one_grid)
    ]
    return _Inside(
        answer,
        {one.name: other.steps.reshape(one.steps.shape) for one, other in pairs},
        frozenset(one.name for one, other in pairs if not on_one_grid(one, other)),
    )


def _sizes(steps: Numbers) -> list[int]:
    """A shape without its ones, which an operator may drop or keep."""
    return [size for size in steps.shape if size != 1]


def _results(net: QuantizedNet, image: Tensor) -> tuple[list[_Kernel], Tensor]:
    """The integer steps that each kernel gives for one image, in order; the answer."""
    graph = simulated(net.graph, net.scheme)
    grids = net.scheme.activations
    first = {node.name: node for node in net.graph.graph.nodes}
    results: list[_Kernel] = []

    class Look(fx.Interpreter):
        """Runs the simulation and keeps what kernels give."""

        def run_node(self, n: fx.Node) -> object:
            made = super().run_node(n)
            node = first.get(n.meta.get(KERNEL_OF, ""))
            grid = None if node is None else grids.get(written(node).name)
            if node is not None and grid is not None:
                real = cast("Tensor", made).double() / grid.scale
                steps = (real.round().long() + grid.zero_point).numpy()
                results.append(_Kernel(node.name, node.target, grid, steps))
            return made

    with torch.inference_mode():
        answer = cast("Tensor", Look(graph).run(image))
    return results, answer
