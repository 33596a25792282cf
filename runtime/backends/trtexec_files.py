"""What trtexec writes: times of inferences, times of layers, and what layers are.

The three files are JSON (TensorRT Developer Guide, trtexec): `--exportTimes`, a list of
one record an inference; `--exportProfile`, a list that begins with the number of runs;
`--exportLayerInfo`, a record of layers, which are bare names unless the engine was
built with detailed profiling.
"""

import math
from collections.abc import Mapping

from runtime.errors import InputRejectedError
from runtime.layer_times import LayerTime
from runtime.plain_json import json_record, json_value

_MOST_MS = 1e7


def read_times(text: str | bytes, *, source: str) -> tuple[int, ...]:
    """Latencies of inferences in ns, in order, from `--exportTimes`.

    A latency is `latencyMs`, which is compute time alone where no data was copied. What
    holds no inference, or one of no time, is an InputRejectedError.
    """
    found = []
    for index, each in enumerate(_records(text, source=source)):
        latency = _ms(each, "latencyMs", source=f"{source}[{index}]")
        found.append(round(latency * 1e6))
    if not found:
        raise InputRejectedError(f"{source}: holds no inference; run trtexec again")
    return tuple(found)


def read_layers(
    profile: str | bytes, layers: str | bytes, *, source: str
) -> tuple[LayerTime, ...]:
    """Every layer with its time, from `--exportProfile` and `--exportLayerInfo`."""
    known = _described(json_record(layers, source=f"{source}: layers"))
    timed = [
        (
            _text(each, "name"),
            _ms(each, "averageMs", source=f"{source}: profile[{index}]"),
        )
        for index, each in enumerate(_records(profile, source=f"{source}: profile"))
        if "count" not in each
    ]
    total = math.fsum(average for _, average in timed)
    if not timed or not total > 0:
        raise InputRejectedError(f"{source}: holds no time of a layer")
    return tuple(
        LayerTime(
            name=name,
            operator=_text(known.get(name, {}), "LayerType"),
            reads=_formats(known.get(name, {}), "Inputs"),
            writes=_formats(known.get(name, {}), "Outputs"),
            tactic=_text(known.get(name, {}), "TacticName"),
            average_ms=average,
            share=average / total,
        )
        for name, average in timed
    )


def _records(text: str | bytes, *, source: str) -> list[Mapping[str, object]]:
    """A list of records."""
    found = json_value(text, source=source)
    if not isinstance(found, list) or not all(isinstance(x, Mapping) for x in found):
        raise InputRejectedError(f"{source}: is no list of records, as trtexec writes")
    return found


def _ms(record: Mapping[str, object], key: str, *, source: str) -> float:
    """A time that may be one."""
    found = record.get(key)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise InputRejectedError(f"{source}: {key} is missing; allowed: milliseconds")
    if not 0 <= found <= _MOST_MS:
        raise InputRejectedError(f"{source}: {key} is {found}; allowed: 0 or more")
    return float(found)


def _text(record: Mapping[str, object], key: str) -> str:
    """A text; empty where there is none."""
    found = record.get(key)
    return found if isinstance(found, str) else ""


def _described(record: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """Layers by name; those of an engine without details are names alone."""
    layers = record.get("Layers")
    listed = layers if isinstance(layers, list) else []
    return {_text(each, "Name"): each for each in listed if isinstance(each, Mapping)}


def _formats(layer: Mapping[str, object], key: str) -> tuple[str, ...]:
    """The formats of what a layer reads or writes."""
    found = layer.get(key)
    listed = found if isinstance(found, list) else []
    return tuple(
        _text(each, "Format/Datatype") or _text(each, "Datatype")
        for each in listed
        if isinstance(each, Mapping)
    )
