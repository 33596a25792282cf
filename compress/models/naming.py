"""Tensors of a checkpoint under the names that the network itself has for them."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from compress.models.wrapped import COUNTER, counted, is_average

# What DataParallel, DistributedDataParallel and torch.compile put before every name.
_PREFIXES: Final = ("module.", "_orig_mod.")
# torchvision's DenseNets before 2018 had `norm.1` where now there is `norm1`; the
# expression is torchvision's own (models/densenet.py).
_OLD_DENSENET: Final = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|"
    r"running_var))$"
)
# Names of the network that are looked for in a checkpoint, to see what is before them.
_PROBES: Final = 8
# A checkpoint that has fewer of a network's names under a prefix is of another network.
_LEAST_SHARE: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Named:
    """Tensors by the network's names, and a sentence where some were left out."""

    state: dict[str, Tensor]
    said: str | None = None


def unprefixed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` without what wrappers of modules put before every name."""
    kept = {name: tensor for name, tensor in state.items() if name != COUNTER}
    found = dict(kept or state)
    while prefix := next((p for p in _PREFIXES if _all_start(found, p)), ""):
        found = {name.removeprefix(prefix): t for name, t in found.items()}
    return found


def named_as(own: Collection[str], state: Mapping[str, Tensor], *, ema: bool) -> Named:
    """`state` under the names in `own`: a prefix comes off, old spellings go.

    Lightning saves what a training module holds, so `model.` or `net.` is before the
    network's names, and its losses and metrics stand beside it. A prefix comes off
    where more of the network's names are under it than without; what is not under it
    is left out, and said. With `ema` a prefix that speaks of averages is preferred.
    """
    renamed = {_modern(name, own): tensor for name, tensor in state.items()}
    prefix = _prefix(own, renamed, ema=ema)
    if not prefix:
        return Named(state=renamed)
    under = {
        n.removeprefix(prefix): t for n, t in renamed.items() if n.startswith(prefix)
    }
    under = {_modern(name, own): tensor for name, tensor in under.items()}
    beside = sorted(name for name in renamed if not name.startswith(prefix))
    said = f"the weights taken are those under {prefix!r}"
    if beside:
        said += f"; {counted(beside)} beside them left out"
    return Named(state=under, said=said)


def _prefix(own: Collection[str], state: Mapping[str, Tensor], *, ema: bool) -> str:
    """What is before the network's names in `state`; nothing where that serves best."""
    probes = [name for name in own if "num_batches" not in name][:_PROBES]
    ends = [(key, probe) for probe in probes for key in state if key.endswith(probe)]
    prefixes = {key.removesuffix(probe) for key, probe in ends}
    known = {
        prefix: sum(prefix + name in state for name in own)
        for prefix in prefixes
        if prefix.endswith(".")
    }
    plain = sum(name in state for name in own)
    best = max(known.values(), default=0)
    if best <= plain or best < _LEAST_SHARE * len(own):
        return ""
    # A student beside its teacher, or a network beside its averages.
    alike = [prefix for prefix, count in known.items() if count == best]
    return min(alike, key=lambda p: (is_average(p) != ema, "teacher" in p, len(p), p))


def _modern(name: str, own: Collection[str]) -> str:
    """A name as the network spells it now."""
    match = _OLD_DENSENET.match(name)
    spelled = f"{match[1]}{match[2]}" if match else name
    return spelled if spelled in own or name not in own else name


def _all_start(names: Collection[str], prefix: str) -> bool:
    """Whether every name begins with `prefix`."""
    return all(name.startswith(prefix) for name in names)
