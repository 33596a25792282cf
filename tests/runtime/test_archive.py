"""Archives that are broken on purpose end in one sentence."""

import zipfile
from pathlib import Path

import pytest

from runtime.artifact import FACTS, Artifact
from runtime.errors import InputRejectedError

# Where flags and method lie behind the signatures (APPNOTE.TXT, 4.3.7 and 4.3.12).
HEADERS = ((b"PK\x03\x04", 6, 8), (b"PK\x01\x02", 8, 10))


def encrypted(content: bytearray) -> None:
    """Say of the only member that it has a password."""
    for signature, flags, _ in HEADERS:
        content[content.index(signature) + flags] |= 1


def compressed_otherwise(content: bytearray) -> None:
    """Name a method that Python does not have."""
    for signature, _, method in HEADERS:
        content[content.index(signature) + method] = 97


def scrambled(content: bytearray) -> None:
    """Start the stream with a block type that deflate does not have."""
    content[content.index(FACTS.encode()) + len(FACTS)] = 0xFF


@pytest.mark.parametrize("broken", [encrypted, compressed_otherwise, scrambled])
def test_facts_that_cannot_be_unpacked(broken: object, tmp_path: Path) -> None:
    """Behind the mark of a TFLite file, whose facts are the member of a zip."""
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(FACTS, "{}" * 100)
    content = bytearray(path.read_bytes())
    broken(content)  # type: ignore[operator]
    path.write_bytes(content)

    with pytest.raises(InputRejectedError, match=f"{FACTS} in it is not readable"):
        Artifact.read(path)
