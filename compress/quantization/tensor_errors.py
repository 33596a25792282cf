"""Which tensors INT8 harms: a line for each, and the first one that diverges."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor, fx

from compress.context.progress import passed
from compress.int8.capture import operator_of
from compress.int8.fused import KERNEL_OF
from compress.int8.grids import Grid
from compress.int8.operators import written
from compress.int8.simulate import QuantizedNet, simulated
from compress.quantization.calibrate import Batches, Watch

_ALIKE_DB: Final = 150.0


@dataclass(frozen=True, kw_only=True)
class TensorRecord:
    """One quantized tensor: its range, what was seen and cut, its distance from float.

    clipped: share of the float values beyond the range; sqnr_db: of what the quantized
    network computes there, with all that went wrong before it.
    """

    name: str
    operator: str
    low: float
    high: float
    seen_low: float
    seen_high: float
    clipped: float
    sqnr_db: float

    def as_record(self) -> dict[str, object]:
        """Plain data for a report."""
        return asdict(self)


@dataclass(kw_only=True)
class _Sum:
    """What has been added up about a tensor so far."""

    low: float = float("inf")
    high: float = float("-inf")
    beyond: int = 0
    count: int = 0
    signal: float = 0.0
    noise: float = 0.0


def table(
    graph: fx.GraphModule, net: QuantizedNet, images: Batches
) -> tuple[TensorRecord, ...]:
    """Compare `net` with its own float graph, tensor by tensor, in the graph's order.

    `graph` is the float graph that `net` was made from; where equalization stretched a
    channel, the quantized network's own graph is the measure, which computes the same.
    """
    del graph
    grids, operators = net.scheme.activations, {}
    made = simulated(net.graph, net.scheme)
    of_kernel: dict[str, str] = {}
    nodes = {node.name: node for node in net.graph.graph.nodes}
    for node in nodes.values():
        operators[node.name] = operator_of(node)
    for node in made.graph.nodes:
        owner = node.meta.get(KERNEL_OF)
        if owner is not None:
            of_kernel[node.name] = written(nodes[owner]).name
        elif node.name in grids:
            of_kernel[node.name] = node.name
    sums = {name: _Sum() for name in grids}
    shared = set(of_kernel.values()) & set(grids)
    with torch.inference_mode():
        for batch in passed("comparing operators with float", images()):
            kept: dict[str, Tensor] = {}
            keys = {name: name for name in shared}
            Watch(net.graph, keys, kept.__setitem__).run(batch)
            Watch(made, of_kernel, partial(_add, sums, grids, kept)).run(batch)
    return tuple(
        _record(name, operators.get(name, "?"), grids[name], sums[name])
        for name in grids
        if sums[name].count
    )


def first_divergent(
    records: Sequence[TensorRecord], *, below_db: float = 20.0
) -> str | None:
    """The first tensor whose noise is worse than `below_db`."""
    return next((each.name for each in records if each.sqnr_db < below_db), None)


def _add(
    sums: dict[str, _Sum],
    grids: Mapping[str, Grid],
    kept: dict[str, Tensor],
    name: str,
    have: Tensor,
) -> None:
    """Take in one batch of one tensor."""
    want = kept.get(name)
    if want is None or want.shape != have.shape:
        return
    found, grid = sums[name], grids[name]
    found.low = min(found.low, float(want.min()))
    found.high = max(found.high, float(want.max()))
    half = grid.scale / 2
    beyond = (want < grid.low - half) | (want > grid.high + half)
    found.beyond += int(beyond.sum())
    found.count += want.numel()
    found.signal += float(want.double().square().sum())
    found.noise += float((have - want).double().square().sum())


def _record(name: str, operator: str, grid: Grid, found: _Sum) -> TensorRecord:
    """The finished line."""
    ratio = found.signal / found.noise if found.noise > 0 else 0.0
    decibels = 10 * float(torch.tensor(ratio).log10()) if ratio > 0 else _ALIKE_DB
    return TensorRecord(
        name=name,
        operator=operator,
        low=grid.low,
        high=grid.high,
        seen_low=found.low,
        seen_high=found.high,
        clipped=found.beyond / found.count,
        sqnr_db=max(-_ALIKE_DB, min(_ALIKE_DB, decibels)),
    )
