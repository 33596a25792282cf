"""Where an INT8 ONNX file stops computing what its network computes."""

from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from torch import Tensor, fx

from compress.int8.simulate import KERNEL_OF, QuantizedNet, simulated
from compress.quantizer import written

_SUFFIX: Final = "/QuantizeLinear"


def first_difference(net: QuantizedNet, file: Path, image: Tensor) -> str | None:
    """Name the first operator whose INT8 result differs; None if there is none.

    image: float32 [1, 3, size, size]. The file's nodes are called after the graph's,
    which is how the two are matched. What the runtime fuses stays fused.
    """
    import onnx
    import onnxruntime

    model = onnx.load(file)
    written = [
        node.output[0] for node in model.graph.node if node.name.endswith(_SUFFIX)
    ]
    for name in written:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    source = session.get_inputs()[0].name
    found = dict(
        zip(written, session.run(written, {source: image.numpy()}), strict=True)
    )
    for name, steps in _results(net, image):
        have = found.get(f"{name}{_SUFFIX}")
        if have is None or have.size != steps.numel():
            continue  # an operator that has no rounding of its own in the file
        # uint8 files count from 0, the network from -128.
        shift = 128 if have.dtype == np.uint8 else 0
        want = steps.numpy().reshape(have.shape) + shift
        if not np.array_equal(have.astype(np.int64), want):
            return name
    return None


def _results(net: QuantizedNet, image: Tensor) -> list[tuple[str, Tensor]]:
    """The integer steps that each kernel gives for one image, in order."""
    graph, results = simulated(net.graph, net.scheme), []
    grids = net.scheme.activations
    first = {node.name: node for node in net.graph.graph.nodes}

    class Look(fx.Interpreter):
        """Runs the simulation and keeps what kernels give."""

        def run_node(self, n: fx.Node) -> object:
            made = super().run_node(n)
            name = n.meta.get(KERNEL_OF)
            if name is None:
                return made
            grid = grids.get(written(first[name]).name)
            if grid is not None:
                real = cast("Tensor", made).double() / grid.scale
                results.append((name, real.round().long() + grid.zero_point))
            return made

    with torch.inference_mode():
        Look(graph).run(image)
    return results
