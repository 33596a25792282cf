"""FlatBuffers written without their library: tables, vectors and texts, as plain data.

Parents come before what they refer to, since offsets point forward; the layout is that
of FlatBuffers' internals (vtable of 16-bit offsets, 32-bit offsets between parts).
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Union

import numpy as np

# What lies in buffers is read in vectors of 16 bytes.
_ALIGNED: Final = 16


@dataclass(frozen=True)
class Scalar:
    """A number in a table; `kind` is a format of `struct`: b, B, i, I, ?."""

    kind: str
    value: int


Table = Mapping[int, "Part"]  # by the field's place in the schema
# A list holds tables; an array is a vector of its numbers.
Part = Union[Scalar, str, np.ndarray, Sequence["Table"], "Table"]


def flat_file(root: Table, identifier: bytes) -> bytes:
    """The file whose root table is `root`, with its four bytes of identification."""
    writer = _Writer()
    writer.content += bytes(4) + identifier
    writer.patch(0, writer.put(root))
    return bytes(writer.content)


class _Writer:
    """Bytes so far; every part is put behind the last one."""

    def __init__(self) -> None:
        self.content = bytearray()

    def patch(self, place: int, target: int) -> None:
        """Let the offset at `place` point to `target`."""
        struct.pack_into("<I", self.content, place, target - place)

    def put(self, part: Part) -> int:
        """Append a part and all behind it; where it begins."""
        if isinstance(part, str):
            return self._vector(np.frombuffer(part.encode() + b"\0", np.uint8), cut=1)
        if isinstance(part, np.ndarray):
            return self._vector(part)
        if isinstance(part, Mapping):
            return self._table(part)
        if isinstance(part, Scalar):
            raise TypeError("a number stands in a table")
        return self._tables(part)

    def _vector(self, values: np.ndarray, *, cut: int = 0) -> int:
        """A count and numbers; `cut` of them are there but not counted."""
        self._pad(ahead=4)
        start = len(self.content)
        self.content += struct.pack("<I", values.size - cut) + values.tobytes()
        return start

    def _tables(self, parts: Sequence[Table]) -> int:
        """A count and offsets, then the tables."""
        self._pad(ahead=4)
        start = len(self.content)
        self.content += struct.pack("<I", len(parts)) + bytes(4 * len(parts))
        for index, each in enumerate(parts):
            self.patch(start + 4 + 4 * index, self.put(each))
        return start

    def _table(self, fields: Table) -> int:
        """A vtable, then the table, then what it refers to; all numbers on 4 bytes."""
        slots = max(fields, default=-1) + 1
        places = {slot: 4 + 4 * index for index, slot in enumerate(sorted(fields))}
        size = 4 + 4 * len(fields)
        vtable = struct.pack("<HH", 4 + 2 * slots, size)
        vtable += struct.pack(f"<{slots}H", *(places.get(s, 0) for s in range(slots)))
        self._pad(ahead=len(vtable))
        start = len(self.content) + len(vtable)
        self.content += vtable + struct.pack("<i", len(vtable)) + bytes(size - 4)
        for slot, place in places.items():
            field = fields[slot]
            if isinstance(field, Scalar):
                struct.pack_into(
                    f"<{field.kind}", self.content, start + place, field.value
                )
            else:
                self.patch(start + place, self.put(field))
        return start

    def _pad(self, *, ahead: int) -> None:
        """Zeros, so that what follows after `ahead` bytes is aligned."""
        self.content += bytes(-(len(self.content) + ahead) % _ALIGNED)
