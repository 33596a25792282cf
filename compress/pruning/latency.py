"""A network's latency table, measured once: which widths are timed, where it lies."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from compress.context.cache import hold, places, room_for
from compress.context.progress import passed
from compress.pruning.kernel_latency import MULTIPLE
from compress.pruning.latency_table import LatencyTable, tabulated
from compress.pruning.layer_timer import LayerTimer
from compress.pruning.layout import Kept, Layout
from runtime.errors import InputRejectedError, RecipeError
from runtime.files import digest_of, read_json, write_json

# Networks that are timed: the whole one, and others with widths drawn at random.
_PROBES: Final = 9
_NARROWEST: Final = 0.2
# How much the widths of one probe differ, as the deviation of their logarithms.
_SPREAD: Final = 0.35

# The network at some widths, as a file's content.
Make = Callable[[Kept], onnx.ModelProto]


def latency_table(
    layout: Layout, make: Make, layer_timer: LayerTimer, *, cache: Path
) -> LatencyTable:
    """The table of a network, measured once and then kept in `cache`.

    It is named by all that it depends on: where it is measured, and the layers. A file
    of another version, or a damaged one, is measured again.
    """
    layers = [asdict(layer) for layer in layout.whole]
    name = digest_of(LatencyTable.model_json_schema(), layer_timer.place, layers)
    at = places(cache / "latencies" / f"{name}.json")
    for path in at:
        with suppress(InputRejectedError, RecipeError, ValueError):
            record = read_json(path, sealed=True)
            table = LatencyTable.model_validate_json(json.dumps(record))
            hold(path)  # and note that it was used
            return table
    rng = np.random.default_rng(0)
    table = tabulated(
        [
            layer_timer.probe(make(kept), layout.layers(kept))
            for kept in passed("timing layers", probe_widths(layout, rng), timing=True)
        ],
        place=layer_timer.place,
    )
    room_for(at[-1])
    write_json(at[-1], table.model_dump(mode="json"), sealed=True)
    return table


def probe_widths(layout: Layout, rng: np.random.Generator) -> list[list[int]]:
    """Widths to be timed: all of them, and random ones between narrow and whole."""
    found = [list(layout.full)]
    for share in np.linspace(_NARROWEST, 1.0, _PROBES - 1):
        factors = share * np.exp(rng.normal(0.0, _SPREAD, len(layout.full)))
        found.append(
            [
                _in_multiples(units * float(factor), units, channels)
                for units, factor, channels in zip(
                    layout.full, factors, layout.unit, strict=True
                )
            ]
        )
    return found


def _in_multiples(wanted: float, units: int, channels: int) -> int:
    """`wanted` of `units`, in multiples of 8 channels, not too few and not too many."""
    step = max(1, MULTIPLE // channels)
    least = max(step, round(_NARROWEST * units))
    return min(units, max(least, round(wanted / step) * step))
