"""HDF5 files from elsewhere: read through in a process of their own before in ours.

HDF5 is C that trusted its input for long; 2.0 mended what fuzzing had found
(CVE-2025-2153 and others), but TensorFlow holds h5py back to wheels with 1.14.
"""

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.contained import confined, contained

if TYPE_CHECKING:
    import h5py

# Where a .keras file, which is a zip, keeps its HDF5 file.
_WEIGHTS: Final = "model.weights.h5"
_MENDED: Final = (2, 0, 0)
# Weights beyond this fit into no ONNX file, so they are refused unread.
_LARGEST_BYTES: Final = 1 << 31
_AT_ONCE_BYTES: Final = 1 << 24


def try_out(path: Path) -> None:
    """Refuse a .h5 or .keras file that an old HDF5 crashes on, or never ends with.

    What cannot be read for another reason is left to whoever reads it.
    """
    import h5py

    if h5py.version.hdf5_version_tuple < _MENDED:
        contained("export.hdf5", path, by=f"HDF5 {h5py.version.hdf5_version}")


def _through(path: Path) -> Callable[[], None]:
    """Read everything in a file that a reader might ask for."""
    import h5py

    def read() -> None:
        source: Path | io.BytesIO = path
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                source = io.BytesIO(archive.read(_WEIGHTS))
        with h5py.File(source, "r") as file:
            _read(file)

    return read


def _read(file: "h5py.File") -> None:
    """Attributes, numbers and what lies below, each once; a link leads nowhere."""
    import h5py

    places: list[h5py.Group | h5py.Dataset] = [file]
    seen = set()
    while places:
        place = places.pop()
        address = h5py.h5o.get_info(place.id).addr
        if address in seen:  # a group may lie in itself
            continue
        seen.add(address)
        dict(place.attrs)
        if isinstance(place, h5py.Dataset):
            _read_numbers(place)
            continue
        places += [
            place[name]
            for name in place
            if isinstance(place.get(name, getlink=True), h5py.HardLink)
        ]


def _read_numbers(data: "h5py.Dataset") -> None:
    """Read all numbers, a few at a time, unless no reader of ours takes so many."""
    elsewhere = data.external or data.is_virtual
    if elsewhere or not data.size or data.size * data.dtype.itemsize > _LARGEST_BYTES:
        return
    if not data.shape:
        data[()]
        return
    rows = max(1, _AT_ONCE_BYTES * data.shape[0] // (data.size * data.dtype.itemsize))
    for first in range(0, data.shape[0], rows):
        data[first : first + rows]


if __name__ == "__main__":
    sys.exit(confined(_through))
