"""A model file and what one must know to use it; the facts lie beside it as JSON."""

import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from runtime import model_proto
from runtime.archive import BAD_ZIP, check_list, unpacked
from runtime.errors import InputRejectedError, RecipeError, one_line
from runtime.files import check_name, read_json, sha256_of, write_json
from runtime.plain_json import LARGEST_BYTES, json_record
from runtime.preprocess import Preprocess
from runtime.selftest import SelfTest
from runtime.typed import record_as, shown

Format = Literal["onnx", "tflite", "executorch"]
Dtype = Literal["float32", "float16", "dynamic", "int8"]

SUFFIXES: Final[dict[Format, str]] = {
    "onnx": ".onnx",
    "tflite": ".tflite",
    "executorch": ".pte",
}
FORMATS: Final = {suffix: format_ for format_, suffix in SUFFIXES.items()}
# File identifiers at byte 4: schema version 3 (tensorflow/lite schema.fbs), and the
# program schema (executorch/schema/program.fbs).
_MARKS: Final[dict[Format, bytes]] = {"tflite": b"TFL3", "executorch": b"ET12"}
# What a program of ExecuTorch says of itself, the longest of what files begin with.
_HEAD_BYTES: Final = 40
# In the zip archive at the end of a .tflite file: what its twin says, too.
FACTS: Final = "edgepress.json"
# What a twin says of a self-test that the file itself carries: nothing is kept twice.
INSIDE: Final = "in the file"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a twin, or a file itself, may say about a file."""

    format: Format | None = None
    dtype: Dtype | None = None
    target: str | None = None
    classes: tuple[str, ...] | None = None
    preprocess: Mapping[str, object] | None = None
    recipe_sha256: str | None = None
    versions: Mapping[str, str] | None = None
    selftest: Mapping[str, object] | None = None


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
    selftest: SelfTest | None = None
    selftest_inside: bool = True  # in the file, not in its twin

    @property
    def twin(self) -> Path:
        """Where the facts about `path` are kept: `FILE.json`."""
        return self.path.with_name(self.path.name + ".json")

    @property
    def selftest_bytes(self) -> int:
        """What of `size_bytes` is the self-test, which is no part of the model."""
        if self.selftest is None or not self.selftest_inside:
            return 0
        return self.selftest.size_bytes

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
            "selftest_bytes": self.selftest_bytes,
        }

    def write_twin(self) -> None:
        """Write the facts beside the file; its self-test where that is not inside."""
        test: object = None
        if self.selftest is not None:
            test = INSIDE if self.selftest_inside else self.selftest.as_record()
        write_json(self.twin, {**self.as_record(), "selftest": test})

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
                    f"{shown(record.get(key))}: the file was changed; export it again"
                )
        inside = record.get("selftest") == INSIDE
        if inside:
            record["selftest"] = facts.get("selftest")
        described = _described(bare, record, source=bare.twin)
        if described.selftest is None:
            return described
        return replace(described, selftest_inside=inside)


def _format_of(path: Path) -> Format:
    """The format that the file's name promises."""
    check_name(path)
    if path.is_dir():
        raise RecipeError(f"{path}: is a folder; give a file: {', '.join(FORMATS)}")
    if not path.exists():
        raise RecipeError(f"{path}: no such file")
    if not path.is_file():  # a link to a device has no end
        raise InputRejectedError(f"{path}: is a pipe or a device, not a file")
    if path.suffix.lower() not in FORMATS:
        raise RecipeError(
            f"{path}: unknown format {path.suffix!r}; known: {', '.join(FORMATS)}"
        )
    return FORMATS[path.suffix.lower()]


def _facts_inside(path: Path, kind: Format) -> Mapping[str, object]:
    """What the file says about itself, after a look at whether it is whole."""
    try:
        if kind == "onnx":
            return model_proto.read_facts(path)
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise InputRejectedError(f"{path}: not readable: {error.strerror}") from error
    if head[4:8] != _MARKS[kind]:
        raise InputRejectedError(
            f"{path}: not a {path.suffix} file (bytes 4 to 7 are {head[4:8]!r}, "
            f"expected {_MARKS[kind]!r}); export or copy it again"
        )
    size, whole = path.stat().st_size, _announced_bytes(head)
    if size < whole:
        raise InputRejectedError(
            f"{path}: is cut off: {size} bytes of at least {whole}; export or copy it "
            "again"
        )
    return _facts_behind(path) if kind == "tflite" else {}


def _announced_bytes(head: bytes) -> int:
    """How long a FlatBuffers file of ours is at least, by its first bytes.

    They say where its first table lies. A program of ExecuTorch goes on with how long
    it is and how far its weights reach (executorch/exir/_serialize/_program.py).
    """
    least = int.from_bytes(head[:4], "little") + 4
    if head[8:12] != b"eh00" or len(head) < _HEAD_BYTES:
        return max(least, 8)
    header, program, weights_at, weights = map(int, struct.unpack("<I3Q", head[12:]))
    if header < _HEAD_BYTES - 8:  # of an older one, which does not say
        weights = 0
    return max(least, program, weights_at + weights)


def _facts_behind(path: Path) -> Mapping[str, object]:
    """What the archive at the end of a TFLite file says, if there is one of ours."""
    try:
        check_list(path)
        with zipfile.ZipFile(path) as archive:
            text = unpacked(archive, FACTS, largest=LARGEST_BYTES)
    except (zipfile.BadZipFile, KeyError):
        return {}
    except (OSError, *BAD_ZIP) as error:
        raise InputRejectedError(
            f"{path}: {FACTS} in it is not readable: {one_line(error)}"
        ) from error
    return json_record(text, source=f"{path}: {FACTS} in it")


def _described(
    bare: Artifact, record: Mapping[str, object], *, source: Path
) -> Artifact:
    """`bare` with the facts of `record`, beside which there may be others."""
    facts = record_as(Facts, record, source=str(source), others="ignored")
    if facts.format not in {None, bare.format}:
        raise InputRejectedError(
            f"{source}: format is {facts.format!r}, not {bare.format!r}"
        )
    return replace(
        bare,
        dtype=facts.dtype,
        target=facts.target,
        classes=facts.classes or (),
        preprocess=(
            Preprocess.from_record(facts.preprocess, source=f"{source}: preprocess")
            if facts.preprocess is not None
            else None
        ),
        recipe_sha256=facts.recipe_sha256,
        versions=facts.versions or {},
        selftest=(
            SelfTest.from_record(facts.selftest, source=f"{source}: selftest")
            if facts.selftest is not None
            else None
        ),
    )
