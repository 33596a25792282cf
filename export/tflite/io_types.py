"""The inputs and outputs of a TFLite file: their names, and float32 around integers."""

from collections.abc import Callable, Iterable

from export.tflite.flatbuffer import (
    NAMES,
    OPERATORS,
    TYPES,
    Model,
    add_tensor,
    graph_of,
    kind_of,
    operator,
)


def name_tensors_(model: Model, *, source: str, result: str) -> None:
    """Name the input and output so, in the signature too, and the rest by operators.

    The converter calls every tensor after the Python class that it was given.
    """
    graph = graph_of(model)
    for number, tensor in enumerate(graph.tensors):
        tensor.name = f"constant_{number}".encode()
    for number, each in enumerate(graph.operators):
        for place in each.outputs:
            name = f"{NAMES[kind_of(model, each)].lower()}_{number}"
            graph.tensors[place].name = name.encode()
    for places, name, side in (
        (graph.inputs, source, "inputs"),
        (graph.outputs, result, "outputs"),
    ):
        (place,) = places
        graph.tensors[place].name = name.encode()
        for signature in model.signatureDefs or []:
            for entry in getattr(signature, side):
                entry.name = name.encode()


def float_edges_(model: Model) -> None:
    """Let int8 inputs and outputs be float32; the integers between stay as they are."""
    graph = graph_of(model)

    def before(place: int, free: int) -> None:
        step = operator(model, OPERATORS.QUANTIZE, version=1, source=free, result=place)
        graph.operators.insert(0, step)

    def after(place: int, free: int) -> None:
        step = operator(
            model, OPERATORS.DEQUANTIZE, version=2, source=place, result=free
        )
        graph.operators.append(step)

    graph.inputs = _freed(model, graph.inputs, "inputs", before)
    graph.outputs = _freed(model, graph.outputs, "outputs", after)


def _freed(
    model: Model,
    places: Iterable[int],
    side: str,
    connect: Callable[[int, int], None],
) -> list[int]:
    """Give the numbers of float32 tensors, connected to those that are int8."""
    tensors = graph_of(model).tensors
    found = []
    for place in map(int, places):
        inner = tensors[place]
        if inner.type != TYPES.INT8:
            found.append(place)
            continue
        free = add_tensor(
            model, name=inner.name, shape=inner.shape, dtype=TYPES.FLOAT32
        )
        inner.name += b"_int8"
        connect(place, free)
        for signature in model.signatureDefs or []:
            for entry in getattr(signature, side):
                if entry.tensorIndex == place:
                    entry.tensorIndex = free
        found.append(free)
    return found
