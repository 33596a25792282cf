"""Weights in an HDF5 file of Keras: found by layer, never outside the file itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from compress.models.keras.record import Place
from runtime.errors import InputRejectedError

if TYPE_CHECKING:
    import h5py

# Weights beyond this fit into no ONNX file.
LARGEST_BYTES: Final = 1 << 31
# A description beyond this is none; the file within a zip is larger than the zip.
_LONGEST_BYTES: Final = 1 << 26
_PACKED: Final = 8

Array = npt.NDArray[np.float32]


def member(
    group: "h5py.Group", parts: Sequence[str], path: Path
) -> "h5py.Group | h5py.Dataset":
    """What lies at a path inside the file itself; links lead nowhere."""
    import h5py

    for part in parts:
        for name in part.split("/"):  # Keras 2 allows / in the name of a layer
            if not isinstance(group, h5py.Group) or name not in group:
                raise InputRejectedError(
                    f"{path}: lacks the weights {'/'.join(parts)}; save it again"
                )
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise InputRejectedError(
                    f"{path}: {'/'.join(parts)} is a link to elsewhere, which is not "
                    "followed; save it again"
                )
            group = group[name]
    return group


def attribute(owner: "h5py.Group", key: str, path: Path) -> object:
    """An attribute, or None; one that says it is larger than the file is refused.

    HDF5 would make room for what is announced before it looks for it.
    """
    attributes = owner.attrs
    if key not in attributes:
        return None
    size = attributes.get_id(key).get_storage_size()
    if size > min(path.stat().st_size * _PACKED, _LONGEST_BYTES):
        raise InputRejectedError(
            f"{path}: its attribute {key!r:.60} announces {size} bytes; the file is "
            "corrupt"
        )
    found: object = attributes[key]
    return found


def stored_names(group: "h5py.Group", path: Path) -> list[str]:
    """The paths of a layer's weights below its group; Keras splits long lists."""
    key = "weight_names"
    keys = [each for each in sorted(group.attrs) if each.startswith(key)]
    lists = [attribute(group, each, path) for each in ([key] if key in keys else keys)]
    return [
        name.decode() if isinstance(name, bytes) else str(name)
        for names in lists
        for name in np.ravel(np.asarray(names))
    ]


def named(
    group: "h5py.Group",
    stored: Sequence[str],
    place: Place,
    names: Sequence[str],
    room: "Room",
) -> Array:
    """The one weight of a layer that goes by one of `names`."""
    # A nested model's weights share a group, so there the layer's name must fit too.
    nested = f"{place.names[-1]}/" if len(place.names) > 1 else ""
    found = [
        each
        for each in stored
        if f"/{each.partition(':')[0]}".endswith(
            tuple(f"/{nested}{name}" for name in names)
        )
    ]
    if len(found) != 1:
        raise InputRejectedError(
            f"{room.path}: layer {place.title!r} has {len(found)} weights called "
            f"{names[0]}, expected one; save the model as .keras"
        )
    return array(member(group, (found[0],), room.path), place, room)


@dataclass
class Room:
    """How many bytes of weights a file may still hold.

    A data set says how large it is, and need not be there: HDF5 fills it with one
    value. So what all of them come to is held against the size of the file.
    """

    path: Path
    left: int

    def take(self, size: int, title: str) -> None:
        """Make room for `size` bytes, or say that there is none."""
        if size > self.left:
            raise InputRejectedError(
                f"{title}: its weights announce {size} bytes, with those before them "
                "many times what the file holds; it is corrupt, or made to fill memory"
            )
        self.left -= size


def array(found: object, place: Place, room: Room) -> Array:
    """The numbers of a data set, as float32."""
    import h5py

    title = f"{room.path}: layer {place.title!r}"
    if not isinstance(found, h5py.Dataset):
        raise InputRejectedError(f"{title}: its weights are no data set; save it again")
    if found.external or found.is_virtual:
        raise InputRejectedError(
            f"{title}: its weights lie in another file, which is not opened"
        )
    if found.dtype.kind != "f":
        raise InputRejectedError(
            f"{title}: its weights are {found.dtype}; allowed: float16, float32, "
            "float64; give the model as it was before it was quantized"
        )
    if found.size is None or found.size * found.dtype.itemsize > LARGEST_BYTES:
        raise InputRejectedError(f"{title}: weights of shape {found.shape}: too large")
    room.take(found.size * found.dtype.itemsize, title)
    values = np.asarray(found[()], np.float32)
    if not np.isfinite(values).all():
        raise InputRejectedError(
            f"{title}: holds NaN or infinite values; use a file from before the "
            "training diverged"
        )
    return values
