"""An ONNX file held to the simulation operator by operator, each on the file's inputs.

Where float operators stand ahead of INT8 ones, no two machines need agree in the end:
float sums have an order of their own on each, now and then one of them lands on the
other side of a tie, and all that follows goes another way. What does not depend on the
machine is each step: integers in, the same integers out; and a number that was computed
in float is rounded to the step that it lies nearest to, or next to.
"""

from pathlib import Path
from typing import Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor, fx

from compress.int8 import kernels
from compress.int8.grids import Scheme
from compress.int8.operators import written
from compress.int8.simulate import KERNEL_OF, simulated
from export.qparams import Grid

_ROUNDED: Final = "/QuantizeLinear"
# How far from the middle between two steps float arithmetic may still choose either.
_NEAR: Final = 1e-2


class Followed(NamedTuple):
    """What a file's operators did: which kernels were off, and what was held to it."""

    off: list[str]
    seen: float  # the share of kernels that were held to it
    error: npt.NDArray[np.float32]  # of the answer, given all that is before it


def followed(
    graph: fx.GraphModule, scheme: Scheme, path: Path, images: Tensor
) -> Followed:
    """Run the simulation of a graph, and go on from what the file computed each time.

    off: kernels that gave other integers for the file's integers, and roundings of
    float numbers that were not near a tie, or more than a step off.
    """
    inside, answer = _inside(path, images)
    net = simulated(graph, scheme)
    first = {node.name: node for node in graph.graph.nodes}
    off: list[str] = []
    seen: list[bool] = []

    class Follow(fx.Interpreter):
        """Puts the file's integers in the place of the simulation's."""

        def run_node(self, n: fx.Node) -> object:
            made = super().run_node(n)
            kernel = n.meta.get(KERNEL_OF)
            is_rounded = n.target is kernels.quantize
            if kernel is None and not is_rounded:
                return made
            name = kernel or cast("fx.Node", n.args[0]).name
            grid = scheme.activations.get(written(first[name]).name)
            have = inside.get(name)
            values = cast("Tensor", made)
            known = have is not None and have.numel() == values.numel()
            if grid is not None and kernel is not None:
                seen.append(known)
            if grid is None or have is None or not known:
                return made
            have = have.reshape(values.shape)
            steps = torch.round(values.double() / grid.scale) + grid.zero_point
            if is_rounded:
                raw = self.env[cast("fx.Node", n.args[0])]
                wrong = (have != steps) & ~_near_tie(raw, grid, steps, have)
            else:
                wrong = have != steps
            if wrong.any():
                off.append(name)
            return ((have - grid.zero_point) * grid.scale).to(values.dtype)

    with torch.inference_mode():
        last = cast("Tensor", Follow(net).run(images)).numpy()
    return Followed(off, float(np.mean(seen)), answer - last)


def _near_tie(raw: Tensor, grid: Grid, steps: Tensor, have: Tensor) -> Tensor:
    """Whether a float number lies in the middle between both steps."""
    middle = (steps + have) / 2 - grid.zero_point
    return ((steps - have).abs() == 1) & (
        (raw.double() / grid.scale - middle).abs() < _NEAR
    )


def _inside(
    path: Path, images: Tensor
) -> tuple[dict[str, Tensor], npt.NDArray[np.float32]]:
    """The steps that every rounding of a file gives, by node, and its answer."""
    model = onnx.load(path)
    rounded = {
        node.output[0]: node.name.removesuffix(_ROUNDED)
        for node in model.graph.node
        if node.name.endswith(_ROUNDED)
    }
    for name in rounded:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    answer, *inner = session.run(None, {"image": images.numpy()})
    # uint8 files count from 0, the network from -128.
    found = {
        rounded[name]: torch.from_numpy(
            steps.astype(np.int64) - (128 if steps.dtype == np.uint8 else 0)
        ).double()
        for name, steps in zip(rounded, inner, strict=True)
    }
    return found, answer
