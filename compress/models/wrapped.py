"""The weights of a checkpoint among all that training scripts save beside them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from runtime.errors import InputRejectedError, RecipeError

# Where training scripts put the weights among epoch, optimizer and best accuracy
# (torchvision, timm, Lightning, and whoever wrote it by hand).
# A word of its own: neither `schema.` nor `semantic.` speaks of averages.
_AVERAGE: Final = re.compile(r"(?:^|[._])(ema|averaged?\w*|swa)(?:[._]|$)")
_WRAPPERS: Final = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "params",
)
# Where they put exponential moving averages of the weights (timm, torchvision, others).
_AVERAGED: Final = (
    "state_dict_ema",
    "model_ema",
    "model_ema_state_dict",
    "ema_state_dict",
    "ema_model",
    "ema",
    "params_ema",
)
# What AveragedModel of torch counts beside the weights.
COUNTER: Final = "n_averaged"
# Wrappers within wrappers; nobody has more, and one may contain itself.
_DEEPEST: Final = 8
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Found:
    """Named tensors, and a sentence where others could have been meant."""

    state: dict[str, Tensor]
    said: str | None = None


def weights_in(record: object, path: Path, *, ema: bool) -> Found:
    """Only the weights of a checkpoint; the averaged ones with `ema`.

    Raises InputRejectedError where there are none, RecipeError for `ema` where none are
    averaged.
    """
    said: str | None = None
    averaged = False
    for _ in range(_DEEPEST):
        if not isinstance(record, Mapping):
            break
        plain, average = _first(record, _WRAPPERS), _first(record, _AVERAGED)
        named = plain if average is None or (plain and not ema) else average
        key = _only(record) if named is None else named
        if key is None:
            break
        if average is not None:
            averaged = key == average
            said = _choice(path, plain, average, averaged=averaged)
        record = record[key]
    else:
        raise InputRejectedError(
            f"{path}: holds wrappers within wrappers, over {_DEEPEST} deep; "
            "write it again with torch.save(net.state_dict(), …)"
        )
    state = _tensors(record, path)
    if ema and not (averaged or COUNTER in state or _names_average(state)):
        raise RecipeError(
            f"weights: {path}: holds no averaged weights; leave the flag for them out"
        )
    return Found(state=state, said=said)


def is_average(prefix: str) -> bool:
    """Whether what comes before the names of weights says that they are averages."""
    return _AVERAGE.search(prefix.lower()) is not None


def counted(names: list[str]) -> str:
    """`5 keys (a, b, c, …)`: how many, and the first few."""
    more = ", …" if len(names) > _NAMED else ""
    plural = "" if len(names) == 1 else "s"
    return f"{len(names)} key{plural} ({', '.join(names[:_NAMED])}{more})"


def _first(record: Mapping[object, object], keys: tuple[str, ...]) -> str | None:
    """The first of `keys` under which there is something named."""
    return next((key for key in keys if isinstance(record.get(key), Mapping)), None)


def _only(record: Mapping[object, object]) -> object:
    """The one key that tensors are under, where none is at the top; else None."""
    if any(isinstance(value, Tensor) for value in record.values()):
        return None
    found = [
        key
        for key, value in record.items()
        if isinstance(value, Mapping)
        and any(isinstance(each, Tensor) for each in value.values())
    ]
    return found[0] if len(found) == 1 else None


def _choice(path: Path, plain: str | None, average: str, *, averaged: bool) -> str:
    """Which of two sets of weights was taken, as a sentence."""
    if plain is None:
        return f"{path}: the weights taken are averages ({average}); it has no others"
    if averaged:
        return f"{path}: the averaged weights are taken ({average}), not {plain}"
    return (
        f"{path}: the weights taken are {plain}; averaged ones are there, too "
        f"({average}): --weights-ema takes those"
    )


def _names_average(state: Mapping[str, Tensor]) -> bool:
    """Whether any name says that it is an average."""
    return any(is_average(name.partition(".")[0]) for name in state)


def _tensors(record: object, path: Path) -> dict[str, Tensor]:
    """Every tensor of `record`; numbers and texts beside them are left out."""
    if not isinstance(record, Mapping) or not record:
        raise InputRejectedError(
            f"{path}: holds {type(record).__name__.lstrip('_')}, not named tensors; "
            "write it again with torch.save(net.state_dict(), …)"
        )
    state = {str(n): t for n, t in record.items() if isinstance(t, Tensor)}
    if not state:
        raise InputRejectedError(
            f"{path}: {counted([str(name) for name in record])} are no tensors; "
            "write it again with torch.save(net.state_dict(), …)"
        )
    return state
