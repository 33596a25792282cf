"""Operators of a converted file that do nothing: transposes in pairs, and marks."""

import numpy as np

from export.tflite.flatbuffer import (
    OPERATORS,
    Model,
    Operator,
    constant,
    graph_of,
    kind_of,
)


def cancel_transposes_(model: Model) -> None:
    """Let whoever reads a transpose of a transpose read what was there before both."""
    graph = graph_of(model)
    transposes = {
        int(each.outputs[0]): each
        for each in graph.operators
        if kind_of(model, each) == OPERATORS.TRANSPOSE
    }
    instead: dict[int, int] = {}
    for place, second in transposes.items():
        first = transposes.get(int(second.inputs[0]))
        if first is not None and _cancel(model, first, second):
            instead[place] = int(first.inputs[0])
    _read_instead_(model, instead, OPERATORS.TRANSPOSE)


def unmark_(model: Model) -> None:
    """Let whoever reads the ceiling of a floor read what was there before both.

    No network rounds twice; `float_layers_are_marked_` does, to say what stays float.
    """
    graph = graph_of(model)
    floors = {
        int(each.outputs[0]): int(each.inputs[0])
        for each in graph.operators
        if kind_of(model, each) == OPERATORS.FLOOR
    }
    instead = {
        int(each.outputs[0]): floors[int(each.inputs[0])]
        for each in graph.operators
        if kind_of(model, each) == OPERATORS.CEIL and int(each.inputs[0]) in floors
    }
    _read_instead_(model, instead, OPERATORS.CEIL, OPERATORS.FLOOR)


def _read_instead_(model: Model, instead: dict[int, int], *kinds: int) -> None:
    """Reroute who reads the keys; drop operators of these kinds that nobody reads."""
    graph = graph_of(model)
    for each in graph.operators:
        each.inputs = np.asarray(
            [_origin(int(place), instead) for place in each.inputs], np.int32
        )
    read = {int(place) for place in graph.outputs}
    kept = []
    for each in reversed(graph.operators):
        if kind_of(model, each) in kinds and int(each.outputs[0]) not in read:
            continue
        read |= {int(place) for place in each.inputs}
        kept.append(each)
    graph.operators = kept[::-1]


def _cancel(model: Model, first: Operator, second: Operator) -> bool:
    """Whether the second transpose restores what the first moved."""
    tensors = graph_of(model).tensors
    moved, back = (
        constant(model, tensors[int(each.inputs[1])]) for each in (first, second)
    )
    if moved is None or back is None or len(moved) != len(back):
        return False
    return bool((moved[back.astype(int)] == np.arange(len(moved))).all())


def _origin(place: int, instead: dict[int, int]) -> int:
    """Where a chain of canceled transposes begins."""
    while place in instead:
        place = instead[place]
    return place
