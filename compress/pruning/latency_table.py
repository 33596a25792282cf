"""Latencies of a network's layers at any widths, from timings of the whole at a few."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.optimize import nnls

from compress.pruning.kernel_latency import BLOCKS, Numbers, coefficients, kind, terms
from compress.pruning.layout import Layer

# How firmly a layer is held to what its kind takes, against its own few timings.
_FIRMNESS: Final = 0.12
# What traces are rounded to.
_TICK_US: Final = 1.0
# Relative errors below this share of a layer's longest time are noise.
_NOISE: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The network at some widths, timed.

    layers_us: of each layer, by name, with what runs between it and the next; whole_ms:
    one inference, nothing being traced.
    """

    layers: tuple[Layer, ...]
    layers_us: Mapping[str, float]
    whole_ms: float


class LatencyTable(BaseModel):
    """How long a network's layers take on one machine; plain data.

    A layer takes the time of its kind of kernel (`kinds` by name, `kernels` by kind, in
    us per term of `staircase.terms`), corrected by its own line in `layers`: a factor,
    and us per output, per input and per call, for what runs between it and the next.
    `overhead`: the whole, per sum of its layers. probes: measured and predicted ms of
    every network that was timed; each prediction knows nothing of its own network.
    place: where all of this holds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    place: Mapping[str, str | int]
    block: int
    kinds: Mapping[str, str]
    kernels: Mapping[str, tuple[float, ...]]
    layers: Mapping[str, tuple[float, float, float, float]]
    overhead: float
    probes: tuple[tuple[float, float], ...] = ()

    def layer_ms(self, layer: Layer) -> float:
        """One layer, its share of the overhead included."""
        return self.layer_us(layer) * self.overhead / 1e3

    def layer_us(self, layer: Layer) -> float:
        """One layer as it is traced, with what runs between it and the next."""
        factor, output, input_, call = self.layers[layer.name]
        which = self.kinds[layer.name]
        kernel = np.dot(self.kernels[which], terms(layer, which, block=self.block))
        us = factor * kernel + output * layer.outputs + input_ * layer.inputs + call
        return float(us)

    def ms(self, layers: Iterable[Layer]) -> float:
        """One inference of a network of these layers."""
        return sum(map(self.layer_ms, layers))


def tabulated(
    probes: Sequence[Probe], *, place: Mapping[str, str | int]
) -> LatencyTable:
    """The table that explains `probes` best: of one network, the first one whole."""
    kinds = {layer.name: kind(layer) for layer in probes[0].layers}

    def table(seen: Sequence[Probe], block: int) -> LatencyTable:
        return _table(seen, kinds, place, block)

    def others(block: int) -> list[LatencyTable]:
        """For every probe, the table without it."""
        return [
            table([*probes[:index], *probes[index + 1 :]], block)
            for index in range(len(probes))
        ]

    tables = {block: others(block) for block in BLOCKS}
    block = min(BLOCKS, key=lambda each: _error(tables[each], probes))
    checks = [
        (probe.whole_ms, other.ms(probe.layers))
        for other, probe in zip(tables[block], probes, strict=True)
    ]
    return table(probes, block).model_copy(update={"probes": tuple(checks)})


def _error(tables: Sequence[LatencyTable], probes: Sequence[Probe]) -> float:
    """How far each table is off for its probe: median over layers of |log of ratio|.

    A median, since on a busy machine some of the timings are none.
    """
    return float(
        np.median(
            [
                abs(np.log((table.layer_us(layer) + _TICK_US) / (seen + _TICK_US)))
                for table, probe in zip(tables, probes, strict=True)
                for layer in probe.layers
                for seen in [probe.layers_us[layer.name]]
            ]
        )
    )


def _table(
    probes: Sequence[Probe],
    kinds: Mapping[str, str],
    place: Mapping[str, str | int],
    block: int,
) -> LatencyTable:
    """Kernels first, from all layers of a kind; then each layer's own correction."""
    rows: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    times: dict[str, list[float]] = defaultdict(list)
    for probe in probes:
        for layer in probe.layers:
            which = kinds[layer.name]
            rows[which].append(terms(layer, which, block=block))
            times[which].append(probe.layers_us[layer.name])
    kernels = {which: coefficients(rows[which], times[which]) for which in rows}
    seen: dict[str, list[tuple[float, Layer, float]]] = defaultdict(list)
    for probe in probes:
        for layer in probe.layers:
            which = kinds[layer.name]
            kernel = float(np.dot(kernels[which], terms(layer, which, block=block)))
            seen[layer.name].append((kernel, layer, probe.layers_us[layer.name]))
    table = LatencyTable(
        place=place,
        block=block,
        kinds=kinds,
        kernels={which: tuple(found.tolist()) for which, found in kernels.items()},
        layers={name: _correction(samples) for name, samples in seen.items()},
        overhead=1.0,
    )
    factors = [probe.whole_ms / table.ms(probe.layers) for probe in probes]
    return table.model_copy(update={"overhead": float(np.median(factors))})


def _correction(
    seen: Sequence[tuple[float, Layer, float]],
) -> tuple[float, float, float, float]:
    """Factor, us per output, per input and per call, of (kernel us, layer, us)."""
    kernel = np.array([each for each, _, _ in seen])
    outputs = np.array([layer.outputs for _, layer, _ in seen], np.float64)
    inputs = np.array([layer.inputs for _, layer, _ in seen], np.float64)
    times = np.array([us for _, _, us in seen])
    longest = times.max()
    sizes = np.array(
        [1.0, outputs.max() / longest, inputs.max() / longest, 1 / longest]
    )
    columns = np.stack([kernel, outputs, inputs, np.ones(len(seen))], axis=1)
    scaled: Numbers = columns / np.array([longest, outputs.max(), inputs.max(), 1.0])
    weight = 1 / (times / longest + _NOISE)
    # Ridge regression towards the kernel's own time: a factor of one and nothing else.
    firm = _FIRMNESS * np.sqrt(len(seen)) * np.eye(4)
    found, _ = nnls(
        np.concatenate([scaled * weight[:, None], firm]),
        np.concatenate([times / longest * weight, firm[0]]),
    )
    factor, output, input_, call = (found / sizes).tolist()
    return factor, output, input_, call
