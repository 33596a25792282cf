"""Weights from a file: only tensors are read, never code, and only what fits."""

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from runtime.errors import InputRejectedError, RecipeError

_PICKLED: Final = (".pt", ".pth", ".th", ".bin", ".ckpt", ".tar")
# Where training scripts put the weights among epoch, optimiser and best accuracy.
_WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "net", "weights")
# What DataParallel, DistributedDataParallel and torch.compile put before every name.
_PREFIXES: Final = ("module.", "_orig_mod.")
# Auxiliary classifiers exist for training only; our GoogLeNet and Inception have none.
_AUXILIARY: Final = re.compile(r"^(aux1|aux2|AuxLogits)\.")
_NAMED = 3


def load_state(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    safetensors, or what torch.save wrote, read with weights_only. Wrappers such as
    {"state_dict": …} and prefixes such as `module.` are taken off. Raises RecipeError
    where there is no such file, InputRejectedError where it is truncated, holds code
    or is no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise RecipeError(
            f"weights: {path}: no such file; give the path of a checkpoint"
        )
    if path.suffix == ".safetensors":
        record = _read_safetensors(path)
    elif path.suffix in _PICKLED:
        record = _read_pickle(path)
    else:
        raise RecipeError(
            f"weights: {path}: {path.suffix or 'no ending'} is no checkpoint format; "
            f"allowed: .safetensors, {', '.join(_PICKLED)}"
        )
    state = _unwrapped(record, path)
    broken = [n for n, t in state.items() if not bool(torch.isfinite(t).all())]
    if broken:
        raise InputRejectedError(
            f"{path}: {_counted(broken)} hold NaN or infinite values; "
            "use a checkpoint from before the training diverged"
        )
    return state


def install_(
    net: nn.Module,
    state: Mapping[str, Tensor],
    *,
    origin: str,
    fresh: Iterable[str] = (),
) -> None:
    """Put `state` into `net`, leaving the parameters named in `fresh` as they are.

    Raises InputRejectedError that names what is missing, left over or misshapen.
    """
    fresh = set(fresh)
    own = net.state_dict()
    given = {
        name: tensor
        for name, tensor in state.items()
        if name not in fresh and not (name not in own and _AUXILIARY.match(name))
    }
    # Checkpoints from before torch 0.4 do not count batches; nothing depends on it.
    needed = {n for n in own if not n.endswith("num_batches_tracked")} - fresh
    shapes = [
        f"{name} ({_shape(given[name])} instead of {_shape(own[name])})"
        for name in own.keys() & given.keys()
        if given[name].shape != own[name].shape
    ]
    amiss = [
        f"{_counted(sorted(names))} {problem}"
        for names, problem in (
            (needed - given.keys(), "missing"),
            (given.keys() - own.keys(), "unexpected"),
            (shapes, "of another shape"),
        )
        if names
    ]
    if amiss:
        raise InputRejectedError(
            f"{origin}: does not fit the network: {'; '.join(amiss)}; "
            "is it a checkpoint of another architecture, library or width?"
        )
    net.load_state_dict(given, strict=False)


def _read_safetensors(path: Path) -> object:
    """Read a safetensors file, which cannot hold code."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputRejectedError(
            f"{path}: not a whole safetensors file: {error}; copy or download it again"
        ) from error


def _read_pickle(path: Path) -> object:
    """Read what torch.save wrote, refusing everything that is not data."""
    try:
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


def _truncated(path: Path) -> InputRejectedError:
    """The error for a file that ends too early or never was a checkpoint."""
    return InputRejectedError(
        f"{path}: truncated, or not written by torch.save; copy or download it again"
    )


def _unwrapped(record: object, path: Path) -> dict[str, Tensor]:
    """Only the weights, under the names the network itself uses."""
    while isinstance(record, Mapping):
        inner = next((record[key] for key in _WRAPPERS if key in record), None)
        if not isinstance(inner, Mapping):
            break
        record = inner
    if not isinstance(record, Mapping) or not record:
        raise InputRejectedError(
            f"{path}: holds {type(record).__name__}, not named tensors; "
            "write it again with torch.save(net.state_dict(), …)"
        )
    others = [str(name) for name, t in record.items() if not isinstance(t, Tensor)]
    if others:
        raise InputRejectedError(
            f"{path}: {_counted(others)} are no tensors; "
            "write it again with torch.save(net.state_dict(), …)"
        )
    state: dict[str, Tensor] = {str(name): tensor for name, tensor in record.items()}
    while prefix := next((p for p in _PREFIXES if _all_start(state, p)), ""):
        state = {name.removeprefix(prefix): t for name, t in state.items()}
    return state


def _all_start(names: Iterable[str], prefix: str) -> bool:
    """Whether every name begins with `prefix`."""
    return all(name.startswith(prefix) for name in names)


def _counted(names: list[str]) -> str:
    """`5 keys (a, b, c, …)`: how many, and the first few."""
    more = ", …" if len(names) > _NAMED else ""
    plural = "" if len(names) == 1 else "s"
    return f"{len(names)} key{plural} ({', '.join(names[:_NAMED])}{more})"


def _shape(tensor: Tensor) -> str:
    """The shape of a tensor, `[64, 3, 7, 7]`."""
    return str(list(tensor.shape))
