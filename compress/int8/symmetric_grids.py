"""Networks on given symmetric INT8 grids: as a record names them, or in half precision.

For runtimes that know no zero points (TensorRT); how grids are chosen for them is
`compress.quantization.symmetric`.
"""

import copy
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from compress.context.records import inner, number, sentences
from compress.int8.capture import ATEN, refreshed_
from compress.int8.reads import int8_readers
from compress.int8.recenter import recentered
from compress.int8.simulate import QuantizedNet
from export.qparams import Grid
from runtime.errors import InputRejectedError


def on_grids(
    net: QuantizedNet,
    scales: Mapping[str, float],
    *,
    left_float: Collection[str] = (),
) -> QuantizedNet:
    """`net` with grids about 0 of known steps, by node, as a report keeps them.

    left_float: operators that stay float besides those of `net`.
    """
    graph, _ = recentered(net.graph, net.scheme)
    left = net.scheme.left_float | frozenset(left_float)
    readers = int8_readers(graph, grids=scales, left_float=left)
    return QuantizedNet(
        graph,
        replace(
            net.scheme,
            activations={node.name: Grid(scales[node.name], 0) for node in readers},
            left_float=left,
            rounding="on_read",
            logits=None,
        ),
    )


def grids_of(net: QuantizedNet, *, half: bool = False) -> Mapping[str, object] | None:
    """The grids of `net` as a report keeps them; None where they are not about 0."""
    if net.scheme.rounding != "on_read":
        return None
    return {
        "scales": {name: grid.scale for name, grid in net.scheme.activations.items()},
        "left_float": sorted(net.scheme.left_float),
        "half": half,
    }


def on_grids_of(net: QuantizedNet, record: Mapping[str, object]) -> QuantizedNet:
    """`net` on grids that `grids_of` wrote down; as it is where there are none.

    Steps that are no positive numbers are an InputRejectedError.
    """
    if not record:
        return net
    found = inner(record, "scales")
    scales = {name: number(found, name) or 0.0 for name in found}
    if not all(0 < scale < float("inf") for scale in scales.values()):
        raise InputRejectedError(
            "grids: the report holds a step that is no positive number; make the run "
            "again"
        )
    made = on_grids(net, scales, left_float=sentences(record, "left_float"))
    return halved(made) if record.get("half") is True else made


def halved(net: QuantizedNet) -> QuantizedNet:
    """`net` with every number that a file in half precision holds in float32.

    Steps are rounded up, so that nothing is cut off.
    """
    graph = copy.deepcopy(net.graph)
    with torch.no_grad():
        for values in (*graph.parameters(), *graph.buffers()):
            if values.is_floating_point():
                values.copy_(values.half())
    for node in graph.graph.nodes:
        if node.target is ATEN.hardtanh.default:
            node.args = (node.args[0], *(_half(end) for end in node.args[1:]))
    refreshed_(graph)
    grids = {
        name: Grid(float(_half_up(torch.tensor(grid.scale))), 0)
        for name, grid in net.scheme.activations.items()
    }
    weights = {name: _half_up(each) for name, each in net.scheme.weights.items()}
    scheme = replace(net.scheme, activations=grids, weights=weights)
    return QuantizedNet(graph, scheme)


def _half(value: float) -> float:
    """The float16 nearest to `value`."""
    return float(torch.tensor(value).half())


def _half_up(steps: Tensor) -> Tensor:
    """The least float16 numbers, as float32, that are no less than `steps`."""
    near = steps.detach().float().numpy()
    half = near.astype(np.float16)
    above = np.nextafter(half, np.float16(np.inf))
    found = np.where(half.astype(np.float32) < near, above, half)
    return torch.from_numpy(found.astype(np.float32).reshape(near.shape))
