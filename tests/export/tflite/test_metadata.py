"""TFLite's metadata, read back field by field without the code that wrote it."""

from typing import TYPE_CHECKING

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.table import Table

if TYPE_CHECKING:
    from runtime.artifact import Artifact

FLOATS = flatbuffers.number_types.Float32Flags


class Walk:
    """A table of a flatbuffer, by the numbers of its fields."""

    def __init__(self, table: Table) -> None:
        self.table = table

    @classmethod
    def root(cls, content: bytes) -> "Walk":
        start = flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0)
        return cls(Table(content, start))

    def _at(self, field: int) -> int:
        return self.table.Offset(4 + 2 * field)

    def text(self, field: int) -> str:
        return self.table.String(self.table.Pos + self._at(field)).decode()

    def table_at(self, field: int) -> "Walk":
        place = self.table.Indirect(self.table.Pos + self._at(field))
        return Walk(Table(self.table.Bytes, place))

    def first(self, field: int) -> "Walk":
        place = self.table.Indirect(self.table.Vector(self._at(field)))
        return Walk(Table(self.table.Bytes, place))

    def floats(self, field: int) -> np.ndarray:
        return self.table.GetVectorAsNumpy(FLOATS, self._at(field))

    def byte(self, field: int) -> int:
        place = self.table.Pos + self._at(field)
        return int(self.table.Get(flatbuffers.number_types.Int8Flags, place))


def test_metadata_says_how_pixels_are_normalized_and_where_labels_are(
    int8_file: "Artifact",
) -> None:
    """Mean and deviation of pixels 0 to 255: 255 times those of numbers 0 to 1."""
    model = schema.ModelT.InitFromPackedBuf(int8_file.path.read_bytes(), 0)
    (entry,) = (each for each in model.metadata if each.name == b"TFLITE_METADATA")
    content = bytes(model.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"

    root = Walk.root(content)
    graph = root.first(3)
    source, result = graph.first(2), graph.first(3)
    unit = source.first(4)
    labels = result.first(6)

    assert root.text(0) == "everything"
    assert (source.text(0), result.text(0)) == ("image", "logits")
    assert unit.byte(0) == 1  # normalization
    mean, deviation = (unit.table_at(1).floats(field) for field in (0, 1))
    np.testing.assert_allclose(mean, [123.675, 116.28, 103.53], rtol=1e-6)
    np.testing.assert_allclose(deviation, [58.395, 57.12, 57.375], rtol=1e-6)
    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 2)
