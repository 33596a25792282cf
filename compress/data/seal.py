"""Decoded pixels held against their checksums, each row the first time it is used."""

import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.errors import InputRejectedError

CHECKSUM_BYTES: Final = 4  # CRC-32, little-endian, a row; they lie behind the pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class Seal:
    """What rows of a pixel file were when they were decoded, and which still are.

    expected: uint32 [n]; matched: bool [n], set as rows are looked at and shared by
    all that look at the file. `sidecar`: the record that makes the file valid.
    """

    file: Path
    sidecar: Path
    expected: npt.NDArray[np.uint32]
    matched: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        """How many rows are vouched for."""
        return len(self.expected)

    def only(self, rows: slice) -> "Seal":
        """The seal of some of the rows; what is found of them is found of all."""
        return replace(self, expected=self.expected[rows], matched=self.matched[rows])

    def check(self, pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> None:
        """Hold `rows` of `pixels` against their checksums, those not looked at so far.

        What was altered is an InputRejectedError, and its record goes, so that the
        next run decodes it again.
        """
        for row in rows[~self.matched[rows]]:
            if zlib.crc32(np.ascontiguousarray(pixels[row]).data) != self.expected[row]:
                with suppress(OSError):  # it may be another user's
                    self.sidecar.unlink(missing_ok=True)
                raise InputRejectedError(
                    f"{self.file}: decoded pixels (row {row}) were changed since they "
                    "were written; run the same command again, and they are decoded "
                    "anew"
                    + (
                        f", once you have removed {self.sidecar.parent}"
                        if self.sidecar.exists()
                        else ""
                    )
                )
            self.matched[row] = True

    def altered(self) -> Iterator[int]:
        """Rows that are not as they were, of the whole file; it is read, not mapped.

        Pages that are looked at once would count as memory for ever.
        """
        count = len(self)
        row_bytes = self.file.stat().st_size // count - CHECKSUM_BYTES
        with self.file.open("rb") as stream:
            for row in range(count):
                if zlib.crc32(stream.read(row_bytes)) != self.expected[row]:
                    yield row
                else:
                    self.matched[row] = True


def checksums(file: Path, count: int) -> npt.NDArray[np.uint32]:
    """What lies behind the pixels of `count` images: uint32 [count]."""
    with file.open("rb") as stream:
        stream.seek(-count * CHECKSUM_BYTES, 2)
        return np.frombuffer(stream.read(), "<u4").astype(np.uint32)
