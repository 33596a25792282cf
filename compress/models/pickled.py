"""What torch.save wrote, read as plain data: nothing in it is imported or executed."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Final, Self

import torch

from runtime.archive import BAD_ZIP
from runtime.errors import InputRejectedError

# Plain data that training scripts save beside the weights: their arguments (argparse,
# pathlib), and figures (numpy, which renamed `core`). Each becomes an `_Unread`.
_BESIDE: Final = (
    "argparse.Namespace",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
)
# torch reads these itself, of any length that the file says.
_OF_ANY_SIZE: Final = re.compile(rb"(?:builtins|__builtin__)\nbytearray\n")
# torch.save stores without compressing; re-packed weights shrink to a half, sparse ones
# to less. What unpacks to more than this, and is large, is not a checkpoint.
_SWELLING: Final = 8
_SMALL_BYTES: Final = 100_000_000
_ZIP: Final = b"PK\x03\x04"


class _Unread:
    """Stands where something is that is no weight; takes anything, keeps nothing."""

    def __new__(cls, *_: object) -> Self:
        """Be called as whatever it stands for."""
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        """Forget the arguments."""

    def __setstate__(self, _: object) -> None:
        """Forget the state."""


def read_pickled(path: Path) -> object:
    """The tensors, numbers and texts of a file that torch.save wrote.

    Raises InputRejectedError for code, for a TorchScript program, for a file that is
    cut short, and for one that would unpack to many times its size.
    """
    _check(path)
    stand_ins = [(_Unread, name) for name in _BESIDE]
    try:
        with torch.serialization.safe_globals(stand_ins):  # type: ignore[arg-type]
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found is None:
            raise _truncated(path) from error
        raise InputRejectedError(
            f"{path}: holds Python code ({found.group(1)}), which is never executed; "
            "write it again with torch.save(net.state_dict(), …) or as safetensors"
        ) from error
    except Exception as error:  # a hostile or cut file may fail in any way
        raise _truncated(path) from error


def most_bytes(path: Path) -> int:
    """What the tensors of a checkpoint may come to, given the bytes of its file."""
    return max(_SMALL_BYTES, _SWELLING * path.stat().st_size)


def _check(path: Path) -> None:
    """Refuse what can be told from the outside."""
    with path.open("rb") as stream:
        is_zip = stream.read(len(_ZIP)) == _ZIP
    if not is_zip:
        with path.open("rb") as stream:  # torch's old format: pickles come first
            _check_program(path, stream.read(_SMALL_BYTES))
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(path, entries)
            for each in entries:
                if each.filename.endswith("/data.pkl"):
                    _check_program(path, archive.read(each))
    except InputRejectedError:
        raise
    except (*BAD_ZIP, OSError) as error:
        raise _truncated(path) from error


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse a program, and an archive that is far larger inside than outside."""
    names = [each.filename.partition("/")[2] for each in entries]
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        raise InputRejectedError(
            f"{path}: is a TorchScript program, which is code and not only weights; "
            "load it where you trust it, write torch.save(net.state_dict(), …), and "
            "name that file"
        )
    total = sum(each.file_size for each in entries)
    if total > most_bytes(path):
        raise InputRejectedError(
            f"{path}: {path.stat().st_size} bytes would unpack to {total}; torch.save "
            "does not compress, so this is no checkpoint; copy or download it again"
        )


def _check_program(path: Path, program: bytes) -> None:
    """Refuse a pickle that could ask for memory of any size."""
    if _OF_ANY_SIZE.search(program):
        raise InputRejectedError(
            f"{path}: holds a bytearray, which no checkpoint needs; write it again "
            "with torch.save(net.state_dict(), …)"
        )


def _truncated(path: Path) -> InputRejectedError:
    """The error for a file that ends too early or never was a checkpoint."""
    return InputRejectedError(
        f"{path}: truncated, or not written by torch.save; copy or download it again"
    )
