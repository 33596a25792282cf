"""Whole files of a network raced where they are going to run, and a table made of that.

A device gives latencies of whole files only. So layers are timed on this machine, and
each kind of kernel is then scaled until the table explains what the device says.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import nnls

from compress.devices.measuring import raced_ms
from compress.int8.simulate import QuantizedNet, with_qdq
from compress.pruning.layer_timer import raced_here_ms
from compress.pruning.timed_files import on_noise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from compress.context.context import RunContext
    from compress.models.model import Model
    from compress.pruning.latency_table import LatencyTable
    from compress.pruning.layout import Layer
    from runtime.target import Target

_ROUNDS: Final = 40
# How firmly the kinds of kernels are held to one common factor.
_FIRMNESS: Final = 0.1

SENTENCE: Final = (
    "prune: {device} gives latencies of whole files only: layers are timed on this "
    "machine, and each kind of kernel is scaled to explain {files} files timed there"
)


@dataclass(frozen=True, kw_only=True)
class Racer:
    """Races networks as files of a target's format, on a device or on this machine."""

    target: Target
    model: Model  # whose classes and preprocessing files carry
    context: RunContext

    def __call__(self, nets: Sequence[nn.Module]) -> list[float]:
        """Latencies in ms, taken in turn."""
        with tempfile.TemporaryDirectory() as place:
            files = [
                self._written(net, Path(place) / f"{index}.{self.target.format}")
                for index, net in enumerate(nets)
            ]
            if (device := self.context.aim.device) is None:
                rng = np.random.default_rng(self.context.seed)
                return raced_here_ms(files, rounds=_ROUNDS, rng=rng)
            return raced_ms(
                device,
                files,
                threads=self.context.aim.threads,
                seed=self.context.seed,
                console=self.context.console,
                runs=_ROUNDS,
            )

    def _written(self, net: nn.Module, path: Path) -> Path:
        """One network as the file that is shipped, but for its numbers."""
        size, name = self.model.preprocess.size, self.model.spec.name
        source: nn.Module = net
        made: QuantizedNet | None = None
        if self.context.aim.dtype == "int8":
            made = on_noise(net, size=size, name=name)
            source = with_qdq(made.graph, made.scheme)
        if self.target.format == "onnx":
            from export.to_onnx import to_onnx

            return to_onnx(
                source,
                size=size,
                path=path,
                batch="static",
                classes=self.model.classes,
                preprocess=self.model.preprocess,
                recipe_sha256="",
                name=name,
                dtype=self.context.aim.dtype,
                target=None if made is None else self.target,
            ).path
        from export.to_tflite import to_tflite

        return to_tflite(
            source,
            size=size,
            path=path,
            dtype=self.context.aim.dtype,
            logits=None if made is None else made.scheme.logits,
            classes=self.model.classes,
            preprocess=self.model.preprocess,
            recipe_sha256="",
            name=name,
        ).path


def scaled(
    table: LatencyTable, nets: Sequence[Sequence[Layer]], whole_ms: Sequence[float]
) -> LatencyTable:
    """`table` with each kind of kernel scaled so that networks take `whole_ms`.

    Ridge regression of relative errors, towards one factor for all kinds.
    """
    kinds = sorted(set(table.kinds.values()))
    rows = np.zeros((len(nets), len(kinds)))
    for index, layers in enumerate(nets):
        sums: dict[str, float] = defaultdict(float)
        for layer in layers:
            sums[table.kinds[layer.name]] += table.layer_ms(layer)
        rows[index] = [sums[kind] for kind in kinds]
    times = np.array(whole_ms)
    common = float(np.median(times / rows.sum(axis=1)))
    weighted = rows / times[:, None]
    firm = _FIRMNESS * np.sqrt(len(nets)) * np.diag(weighted.mean(axis=0) * common)
    found, _ = nnls(
        np.concatenate([weighted * common, firm]),
        np.concatenate([np.ones(len(nets)), firm.diagonal()]),
    )
    factors = dict(zip(kinds, (found * common).tolist(), strict=True))
    probes = tuple(
        (ms, float(row @ (found * common)))
        for ms, row in zip(whole_ms, rows, strict=True)
    )
    return table.model_copy(
        update={
            "kernels": {
                kind: tuple(each * factors[kind] for each in terms)
                for kind, terms in table.kernels.items()
            },
            "layers": {
                name: (
                    factor,
                    *(each * factors[table.kinds[name]] for each in rest),
                )
                for name, (factor, *rest) in table.layers.items()
            },
            "probes": probes,
        }
    )
