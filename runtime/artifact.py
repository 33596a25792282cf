"""A model file and what one must know to use it; the facts lie beside it as JSON."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from runtime import model_proto
from runtime.archive import BAD_ZIP
from runtime.errors import InputRejectedError, RecipeError, one_line
from runtime.files import read_json, sha256_of, write_json
from runtime.preprocess import Preprocess

Format = Literal["onnx", "tflite"]
Dtype = Literal["float32", "float16", "dynamic", "int8"]

_FORMATS: Final[dict[str, Format]] = {".onnx": "onnx", ".tflite": "tflite"}
_DTYPES: Final[dict[object, Dtype | None]] = {
    "float32": "float32",
    "float16": "float16",
    "dynamic": "dynamic",
    "int8": "int8",
    None: None,
}
# The file identifier of schema version 3, at byte 4 (tensorflow/lite schema.fbs).
_TFLITE_MARK: Final = b"TFL3"
# In the zip archive at the end of a .tflite file: what its twin says, too.
FACTS: Final = "edgepress.json"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file for a device; `None` and empty fields are facts that nobody wrote down."""

    path: Path
    format: Format
    sha256: str
    size_bytes: int
    dtype: Dtype | None = None
    target: str | None = None
    classes: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    recipe_sha256: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def twin(self) -> Path:
        """Where the facts about `path` are kept: `FILE.json`."""
        return self.path.with_name(self.path.name + ".json")

    def as_record(self) -> dict[str, object]:
        """Plain data for the twin and for reports; the path is the file's name."""
        return {
            "path": self.path.name,
            "format": self.format,
            "dtype": self.dtype,
            "target": self.target,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "classes": list(self.classes),
            "preprocess": self.preprocess.as_record() if self.preprocess else None,
            "recipe_sha256": self.recipe_sha256,
            "versions": dict(self.versions),
        }

    def write_twin(self) -> None:
        """Write the facts beside the file."""
        write_json(self.twin, self.as_record())

    @classmethod
    def read(cls, path: Path) -> "Artifact":
        """Look at `path` and its twin; no interpreter is needed.

        Without a twin the file's own metadata is read. A missing file is a
        RecipeError; one that is truncated, or not what its twin describes, an
        InputRejectedError.
        """
        kind = _format_of(path)
        bare = cls(
            path=path,
            format=kind,
            sha256=sha256_of(path),
            size_bytes=path.stat().st_size,
        )
        facts = _facts_inside(path, kind)
        if not bare.twin.exists():
            return _described(bare, facts, source=path)
        record = read_json(bare.twin)
        for key, found in (("size_bytes", bare.size_bytes), ("sha256", bare.sha256)):
            if record.get(key) != found:
                raise InputRejectedError(
                    f"{path}: {key} is {found}, but {bare.twin.name} says "
                    f"{record.get(key)}: the file was changed; export it again"
                )
        return _described(bare, record, source=bare.twin)


def _format_of(path: Path) -> Format:
    """The format that the file's name promises."""
    if path.is_dir():
        raise RecipeError(f"{path}: is a folder; give a .onnx or .tflite file")
    if not path.exists():
        raise RecipeError(f"{path}: no such file")
    if path.suffix.lower() not in _FORMATS:
        raise RecipeError(
            f"{path}: unknown format {path.suffix!r}; known: {', '.join(_FORMATS)}"
        )
    return _FORMATS[path.suffix.lower()]


def _facts_inside(path: Path, kind: Format) -> Mapping[str, object]:
    """What the file says about itself, after a look at whether it is whole."""
    try:
        if kind == "onnx":
            return model_proto.read_facts(path)
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise InputRejectedError(f"{path}: not readable: {error.strerror}") from error
    if head[4:] != _TFLITE_MARK:
        raise InputRejectedError(
            f"{path}: not a TFLite file (bytes 4 to 7 are {head[4:]!r}, "
            f"expected {_TFLITE_MARK!r}); export or copy it again"
        )
    return _facts_behind(path)


def _facts_behind(path: Path) -> Mapping[str, object]:
    """What the archive at the end of a TFLite file says, if there is one of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            record = json.loads(archive.read(FACTS))
    except (zipfile.BadZipFile, KeyError):
        return {}
    except (OSError, *BAD_ZIP) as error:
        raise InputRejectedError(
            f"{path}: {FACTS} in it is not readable: {one_line(error)}"
        ) from error
    return record if isinstance(record, dict) else {}


def _described(
    bare: Artifact, record: Mapping[str, object], *, source: Path
) -> Artifact:
    """`bare` with the facts of `record`, each checked."""
    claimed = record.get("format", bare.format)
    if claimed != bare.format:
        raise InputRejectedError(
            f"{source}: format is {claimed!r}, not {bare.format!r}"
        )
    dtype = record.get("dtype")
    if not isinstance(dtype, str | None) or dtype not in _DTYPES:
        raise InputRejectedError(
            f"{source}: dtype is {dtype!r}; allowed: "
            f"{', '.join(str(each or 'null') for each in _DTYPES)}"
        )
    preprocess = record.get("preprocess")
    return Artifact(
        path=bare.path,
        format=bare.format,
        sha256=bare.sha256,
        size_bytes=bare.size_bytes,
        dtype=_DTYPES[dtype],
        target=_text(record, "target", source),
        classes=_names(record, source),
        preprocess=(
            Preprocess.from_record(_mapping(record, "preprocess", source))
            if preprocess is not None
            else None
        ),
        recipe_sha256=_text(record, "recipe_sha256", source),
        versions={
            key: str(value)
            for key, value in _mapping(record, "versions", source).items()
        },
    )


def _text(record: Mapping[str, object], key: str, source: Path) -> str | None:
    """A text, or None where nothing was written."""
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise InputRejectedError(f"{source}: {key} is {value!r}, not a text")
    return value


def _names(record: Mapping[str, object], source: Path) -> tuple[str, ...]:
    """The classes, in the order of the scores."""
    value = record.get("classes") or []
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise InputRejectedError(f"{source}: classes is not a list of names")
    return tuple(value)


def _mapping(
    record: Mapping[str, object], key: str, source: Path
) -> Mapping[str, object]:
    """A record within the record; empty where nothing was written."""
    value = record.get(key) or {}
    if not isinstance(value, dict):
        raise InputRejectedError(f"{source}: {key} is {value!r}, not a record")
    return value
