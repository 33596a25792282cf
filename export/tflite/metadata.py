"""TFLite's own metadata: what the file is, what it is fed, and what its scores mean.

Schema 1.1 of TFLite's model metadata: a flatbuffer within the file, and labels.txt in a
zip archive at its end, so that Android's tools, or `unzip`, find the classes.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.tflite.flatbuffer import Model, written
from runtime.artifact import FACTS, Artifact

_MARK: Final = b"M001"
_NAME: Final = b"TFLITE_METADATA"
_LABELS: Final = "labels.txt"
# The earliest time that a zip entry can have: the same bytes every time.
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)


def described(
    model: Model, facts: Artifact, *, name: str, source: str, result: str
) -> bytes:
    """Give the bytes of the file with metadata; last, since edits drop the archive.

    source, result: what its input and output are called. The archive holds the facts
    that `Artifact` reads, too.
    """
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(
        _metadata(facts, name=name, source=source, result=result), np.uint8
    )
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _NAME, len(model.buffers) - 1
    kept = [each for each in model.metadata or [] if each.name != _NAME]
    model.metadata = [*kept, entry]
    stream = io.BytesIO(written(model))
    stream.seek(0, io.SEEK_END)
    labels = "".join(f"{' '.join(label.split())}\n" for label in facts.classes)
    record = {
        key: value
        for key, value in facts.as_record().items()
        if key not in {"path", "sha256", "size_bytes"}
    }
    if facts.selftest is not None:
        record["selftest"] = facts.selftest.as_record()
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for file, text in (
            (_LABELS, labels),
            (FACTS, json.dumps(record, sort_keys=True)),
        ):
            archive.writestr(zipfile.ZipInfo(file, _NO_TIME), text)
    return stream.getvalue()


def _metadata(facts: Artifact, *, name: str, source: str, result: str) -> bytes:
    """The flatbuffer; numbers of fields and of enumerations as in the schema."""
    preprocess = facts.preprocess
    if preprocess is None:
        raise ValueError(name)
    mean, std = (
        [255 * each for each in which] for which in (preprocess.mean, preprocess.std)
    )
    builder = flatbuffers.Builder(1024)
    table = _Tables(builder)
    normalization = table.of({0: table.floats(mean), 1: table.floats(std)})
    unit = table.of({0: _Byte(1), 1: normalization})  # 1: NormalizationOptions
    side = _Word(preprocess.size)
    image = table.of({0: _Byte(1), 1: table.of({0: side, 1: side})})  # 1: RGB
    pixels = table.of({0: _Byte(2), 1: image})  # 2: ImageProperties
    taken = table.of({0: table.text(source), 3: pixels, 4: table.list_of([unit])})
    feature = table.of({0: _Byte(1), 1: table.of({})})  # 1: FeatureProperties
    labels = table.of(
        {
            0: table.text(_LABELS),
            1: table.text("one class a line, in the order of the scores"),
            2: _Byte(2),  # TENSOR_AXIS_LABELS
        }
    )
    given = table.of({0: table.text(result), 3: feature, 6: table.list_of([labels])})
    graph = table.of({2: table.list_of([taken]), 3: table.list_of([given])})
    root = table.of(
        {
            0: table.text(name),
            1: table.text(f"Image classifier, {facts.dtype}, made by edgepress"),
            2: table.text(facts.versions.get("edgepress", "unknown")),
            3: table.list_of([graph]),
            7: table.text("1.1.0"),
        }
    )
    builder.Finish(root, file_identifier=_MARK)
    return bytes(builder.Output())


class _Byte(int):
    """A field of 8 bits."""


class _Word(int):
    """A field of 32 bits without a sign."""


class _Tables:
    """Flatbuffer tables by the numbers of their fields; no generated code is needed."""

    def __init__(self, builder: "flatbuffers.Builder") -> None:
        """Write to `builder`."""
        self._builder = builder

    def text(self, value: str) -> int:
        """Write a text."""
        return int(self._builder.CreateString(value))

    def floats(self, values: Sequence[float]) -> int:
        """Write a list of float32."""
        return int(self._builder.CreateNumpyVector(np.asarray(values, np.float32)))

    def list_of(self, tables: Sequence[int]) -> int:
        """Write a list of tables."""
        self._builder.StartVector(4, len(tables), 4)
        for each in reversed(tables):
            self._builder.PrependUOffsetTRelative(each)
        return int(self._builder.EndVector())

    def of(self, fields: dict[int, int]) -> int:
        """Write a table; a plain int is the place of what was written before."""
        self._builder.StartObject(max(fields, default=0) + 1)
        for field, value in fields.items():
            if isinstance(value, _Byte):
                self._builder.PrependInt8Slot(field, int(value), 0)
            elif isinstance(value, _Word):
                self._builder.PrependUint32Slot(field, int(value), 0)
            else:
                self._builder.PrependUOffsetTRelativeSlot(field, value, 0)
        return int(self._builder.EndObject())
