"""The outline of an ONNX file, read without onnx or an interpreter.

Only headers are read and everything else is skipped, so the time does not grow with
the weights; a file that was cut off is noticed: a header promises more than there is.
Field numbers are those of onnx/onnx.proto; the wire format is that of protobuf.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from runtime.errors import InputRejectedError
from runtime.plain_json import json_value

_MODEL_GRAPH: Final = 7
_MODEL_METADATA: Final = 14
_GRAPH_INITIALIZER: Final = 5
_TENSOR_DIMS: Final = 1
_TENSOR_DATA_TYPE: Final = 2
_ENTRY_KEY: Final = 1
_ENTRY_VALUE: Final = 2
# TensorProto.DataType: UINT8 and INT8.
_EIGHT_BITS: Final = frozenset({2, 3})

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_LIMIT_BITS: Final = 70
# A note beyond this is no note; the axes of a tensor are a handful; and a graph of a
# million fields takes seconds to walk, where real ones have some tens of thousands.
_LONGEST_NOTE: Final = 1 << 24
_MOST_AXES: Final = 64
_MOST_FIELDS: Final = 1_000_000

# What an exporter may leave in a file's metadata_props for `Artifact`; values that are
# no plain text are JSON.
FACTS: Final = (
    *("classes", "preprocess", "recipe_sha256", "versions", "target"),
    "selftest",
)
_JSON: Final = frozenset('["{')


class _OutlineError(ValueError):
    """The bytes are no protobuf message."""


def read_facts(path: Path) -> Mapping[str, object]:
    """The `FACTS` and the dtype that the file at `path` carries.

    A file that is truncated, or is no ONNX model, is an InputRejectedError.
    """
    size = path.stat().st_size
    metadata: dict[str, str] = {}
    elements: Counter[bool] = Counter()
    has_graph = False
    try:
        with path.open("rb") as stream:
            for number, start, end, _ in _fields(stream, 0, size):
                if number == _MODEL_METADATA:
                    key, value = _entry(stream, start, end)
                    metadata[key] = value
                elif number == _MODEL_GRAPH:
                    has_graph = True
                    elements.update(_elements(stream, start, end))
    except _OutlineError as error:
        raise InputRejectedError(
            f"{path}: not a whole ONNX model: {error}; export or copy it again"
        ) from error
    if not has_graph:
        raise InputRejectedError(
            f"{path}: not an ONNX model: {size} bytes without a graph; "
            "export or copy it again"
        )
    facts: dict[str, object] = {
        key: _decoded(metadata[key], source=f"{path}: {key}")
        for key in FACTS
        if key in metadata
    }
    dtype = "int8" if elements[True] > elements[False] else "float32"
    return {**facts, "dtype": dtype}


def _elements(stream: BinaryIO, start: int, end: int) -> Counter[bool]:
    """How many weights of a graph are stored in 8 bits (True) and how many are not."""
    found: Counter[bool] = Counter()
    for number, first, last, _ in _fields(stream, start, end):
        if number != _GRAPH_INITIALIZER:
            continue
        count, axes, eight_bits = 1, 0, False
        for inner, inner_start, inner_end, value in _fields(stream, first, last):
            if inner == _TENSOR_DATA_TYPE:
                eight_bits = value in _EIGHT_BITS
            elif inner == _TENSOR_DIMS:
                for size in _sizes(stream, inner_start, inner_end, value):
                    count, axes = count * size, axes + 1
                    if axes > _MOST_AXES:
                        raise _OutlineError(f"a weight has over {_MOST_AXES} axes")
        found[eight_bits] += count
    return found


def _sizes(stream: BinaryIO, start: int, end: int, value: int | None) -> Iterator[int]:
    """Dimensions, which a writer may pack into one field or give one by one."""
    if value is not None:
        yield value
        return
    stream.seek(start)
    while stream.tell() < end:
        yield _varint(stream, end)


def _entry(stream: BinaryIO, start: int, end: int) -> tuple[str, str]:
    """One key and its value of `metadata_props`."""
    texts: dict[int, str] = {}
    for number, first, last, value in _fields(stream, start, end):
        if value is None:
            if last - first > _LONGEST_NOTE:
                raise _OutlineError(f"a note has {last - first} bytes")
            stream.seek(first)
            texts[number] = stream.read(last - first).decode("utf-8", "replace")
    return texts.get(_ENTRY_KEY, ""), texts.get(_ENTRY_VALUE, "")


def _decoded(text: str, *, source: str) -> object:
    """What a JSON text, list or record holds; any other text as it is."""
    return json_value(text, source=source) if text[:1] in _JSON else text


def _fields(
    stream: BinaryIO, start: int, end: int
) -> Iterator[tuple[int, int, int, int | None]]:
    """Each field between two offsets: number, start and end of content, varint."""
    position, seen = start, 0
    while position < end:
        if (seen := seen + 1) > _MOST_FIELDS:
            raise _OutlineError(f"over {_MOST_FIELDS} fields in one message")
        stream.seek(position)
        tag = _varint(stream, end)
        number, wire = tag >> 3, tag & 7
        value: int | None = None
        if wire == _VARINT:
            first = stream.tell()
            value = _varint(stream, end)
            last = stream.tell()
        else:
            length = _varint(stream, end) if wire == _BYTES else _fixed(wire)
            first = stream.tell()
            last = first + length
        if number == 0 or last > end:
            raise _OutlineError(
                f"byte {position} announces {last - first} bytes where "
                f"{end - first} are left"
            )
        yield number, first, last, value
        position = last


def _fixed(wire: int) -> int:
    """Bytes of a number of fixed size."""
    sizes = {_FIXED64: 8, _FIXED32: 4}
    if wire not in sizes:
        raise _OutlineError(f"wire type {wire} does not exist")
    return sizes[wire]


def _varint(stream: BinaryIO, end: int) -> int:
    """A number of variable length at the stream's position."""
    result = shift = 0
    while shift < _VARINT_LIMIT_BITS:
        byte = stream.read(1)
        if not byte or stream.tell() > end:
            raise _OutlineError("it ends within a number")
        result |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:  # noqa: PLR2004  # protobuf: the high bit says "goes on"
            return result
        shift += 7
    raise _OutlineError("a number has more than 10 bytes")
