"""Weights from a file: only tensors are read, never code, and only what fits."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from compress.models.naming import unprefixed
from compress.models.pickled import most_bytes, read_pickled
from compress.models.wrapped import counted, weights_in
from runtime.errors import InputRejectedError, RecipeError

_PICKLED: Final = (".pt", ".pth", ".th", ".bin", ".ckpt", ".tar")
# Auxiliary classifiers exist for training only; our GoogLeNet and Inception have none.
_AUXILIARY: Final = re.compile(r"^(aux1|aux2|AuxLogits)\.")


def load_state(
    path: Path | str,
    *,
    ema: bool = False,
    tell: Callable[[str], object] | None = None,
) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    safetensors, or what torch.save wrote, read with weights_only. Wrappers such as
    {"state_dict": …} and prefixes such as `module.` are taken off; with `ema` averaged
    weights are taken, and `tell` hears of it where there was a choice. Raises
    RecipeError where there is no such file, InputRejectedError where it is truncated,
    holds code or is no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise RecipeError(
            f"weights: {path}: no such file; give the path of a checkpoint"
        )
    if path.suffix == ".safetensors":
        record = _read_safetensors(path)
    elif path.suffix in _PICKLED:
        record = read_pickled(path)
    else:
        raise RecipeError(
            f"weights: {path}: {path.suffix or 'no ending'} is no checkpoint format; "
            f"allowed: .safetensors, {', '.join(_PICKLED)}"
        )
    found = weights_in(record, path, ema=ema)
    _check_numbers(found.state, path)
    if tell is not None and found.said is not None:
        tell(found.said)
    return unprefixed(found.state)


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
        f"{counted(sorted(names))} {problem}"
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


def _check_numbers(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse what are no plain finite numbers, or more of them than the file can hold.

    A few stored numbers may pose as billions by strides of zero, and many names may
    share one tensor; looking at each would take time and memory without end.
    """
    odd = [n for n, t in state.items() if t.layout != torch.strided or t.is_meta]
    odd += [n for n, t in state.items() if t.is_quantized or t.is_nested]
    if odd:
        raise InputRejectedError(
            f"{path}: {counted(odd)} hold sparse or quantized tensors; write it again "
            "with dense ones"
        )
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if total > most_bytes(path):
        raise InputRejectedError(
            f"{path}: its tensors claim {total} bytes, the file has "
            f"{path.stat().st_size}; copy or download it again"
        )
    broken = [n for n, t in state.items() if not _is_finite(t)]
    if broken:
        raise InputRejectedError(
            f"{path}: {counted(broken)} hold NaN or infinite values; "
            "use a checkpoint from before the training diverged"
        )


def _is_finite(tensor: Tensor) -> bool:
    """Whether every number is one; of floats in 8 bits torch cannot tell directly."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    wide = tensor if tensor.element_size() > 1 else tensor.float()
    return bool(torch.isfinite(wide).all())


def _shape(tensor: Tensor) -> str:
    """The shape of a tensor, `[64, 3, 7, 7]`."""
    return str(list(tensor.shape))
