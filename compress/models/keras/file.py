"""A Keras file opened: its layers as plain JSON, its weights as arrays; never code."""

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compress.context.extras import check_installed
from compress.models.keras.record import Place
from compress.models.keras.weights import (
    LARGEST_BYTES,
    Array,
    Room,
    array,
    attribute,
    member,
    named,
    stored_names,
)
from export.hdf5 import try_out
from runtime import plain_json
from runtime.archive import BAD_ZIP, check_list
from runtime.errors import EdgepressError, InputRejectedError, RecipeError, one_line

ENDINGS: Final = (".h5", ".hdf5", ".keras")
# Everything that Keras itself puts into a .keras file.
_METADATA: Final = "metadata.json"
_CONFIG: Final = "config.json"
_WEIGHTS: Final = "model.weights.h5"
# Weights hardly get smaller when they are packed; what grows more was made to.
_MOST_TIMES: Final = 8
_SMALL_BYTES: Final = 1 << 26

# The weights of a layer, by what each of them may be called, in Keras's order.
Weights = Callable[[Place, Sequence[Sequence[str]]], list[Array]]


@dataclass(frozen=True, kw_only=True)
class KerasFile:
    """What a file holds: `model` is the record of its outermost layer."""

    path: Path
    version: int  # of Keras: 1, 2 or 3
    model: Mapping[str, object]
    weights: Weights


@contextmanager
def opened(path: Path) -> Iterator[KerasFile]:
    """Open a .h5 or .keras file of a whole model.

    Raises RecipeError where there is no file, InputRejectedError where it is corrupt,
    holds weights only, or refers to anything outside itself.
    """
    check_installed("h5py")
    if path.is_dir():
        raise RecipeError(f"{path}: is a folder; give the .h5 or .keras file itself")
    if not path.is_file():
        raise RecipeError(f"{path}: no such file")
    try_out(path)
    try:
        with _zip(path) if path.suffix == ".keras" else _hdf5(path) as found:
            yield found
    except EdgepressError:
        raise
    except RecursionError as error:
        raise InputRejectedError(f"{path}: its layers are nested too deep") from error
    except (OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        # What h5py and zipfile raise depends on which byte is wrong.
        raise InputRejectedError(
            f"{path}: truncated, or no Keras file: {one_line(error)}; copy or save it "
            "again"
        ) from error


@contextmanager
def _hdf5(path: Path) -> Iterator[KerasFile]:
    """Open a file of `model.save("x.h5")`."""
    import h5py

    with h5py.File(path, "r") as file:
        room = Room(path, _most_bytes(path))
        described = attribute(file, "model_config", path)
        if described is None:
            raise InputRejectedError(
                f"{path}: holds weights only, no layers; save the whole model with "
                "model.save(…)"
            )

        def weights(place: Place, wanted: Sequence[Sequence[str]]) -> list[Array]:
            group = member(file, ("model_weights", place.names[0]), path)
            stored = stored_names(group, path)
            return [named(group, stored, place, names, room) for names in wanted]

        yield KerasFile(
            path=path,
            version=_major(attribute(file, "keras_version", path) or "2"),
            model=_parsed(described, path),
            weights=weights,
        )


@contextmanager
def _zip(path: Path) -> Iterator[KerasFile]:
    """Open a file of `model.save("x.keras")`; nothing is unpacked to the disk."""
    import h5py

    room = Room(path, _most_bytes(path))
    try:
        check_list(path)
        with zipfile.ZipFile(path) as archive:
            texts = _checked(archive, path)
    except BAD_ZIP as error:
        raise InputRejectedError(
            f"{path}: truncated, or no .keras file: {one_line(error)}; copy or save it "
            "again"
        ) from error
    with h5py.File(io.BytesIO(texts[_WEIGHTS]), "r") as file:

        def weights(place: Place, wanted: Sequence[Sequence[str]]) -> list[Array]:
            # Keras 2.12 to 2.15 called the containers otherwise.
            root = "layers" if "layers" in file else "_layer_checkpoint_dependencies"
            here = [part for key in place.keys for part in (root, key)]
            return [
                array(member(file, (*here, "vars", str(number)), path), place, room)
                for number in range(len(wanted))
            ]

        metadata = _parsed(texts[_METADATA], path)
        yield KerasFile(
            path=path,
            version=_major(metadata.get("keras_version", "3")),
            model=_parsed(texts[_CONFIG], path),
            weights=weights,
        )


def _checked(archive: zipfile.ZipFile, path: Path) -> dict[str, bytes]:
    """Read the three members of a .keras file; any other is refused by name."""
    members = archive.infolist()
    names = [each.filename for each in members]
    needed = {_METADATA, _CONFIG, _WEIGHTS}
    if strange := sorted(set(names) - needed):
        raise InputRejectedError(
            f"{path}: holds {strange[0]!r}, which is not read; allowed: "
            f"{', '.join(sorted(needed))}"
        )
    if sorted(names) != sorted(needed):
        raise InputRejectedError(
            f"{path}: holds {', '.join(sorted(names)) or 'nothing'}; a .keras file "
            f"holds each of {', '.join(sorted(needed))} once"
        )
    for each in members:
        text, weights = plain_json.LARGEST_BYTES, _most_bytes(path)
        limit = weights if each.filename == _WEIGHTS else text
        if each.file_size > limit:
            raise InputRejectedError(
                f"{path}: {each.filename} has {each.file_size} bytes; allowed: {limit}"
            )
    return {name: archive.read(name) for name in names}


def _most_bytes(path: Path) -> int:
    """What the weights of a file of this size may come to."""
    packed = path.stat().st_size
    return min(LARGEST_BYTES, max(_SMALL_BYTES, _MOST_TIMES * packed))


def _major(version: object) -> int:
    """The first number of a version."""
    text = version.decode() if isinstance(version, bytes) else str(version)
    return int(text.partition(".")[0])


def _parsed(text: object, path: Path) -> Mapping[str, object]:
    """A JSON record."""
    plain = text if isinstance(text, str | bytes) else str(text)
    return plain_json.json_record(plain, source=f"{path}: its description")
