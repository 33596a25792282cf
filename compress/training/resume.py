"""The state of a training run at rest: enough to go on as if nothing had happened."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from compress.models.checkpoint import read_tensors_and_record, write_tensors
from compress.models.network import detached
from runtime.errors import InputRejectedError
from runtime.typed import record_as


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training run has come; every number that the next step depends on."""

    key: str  # digest of options, data and model: what the state belongs to
    epoch: int = 0
    step: int = 0  # within the epoch
    loss_sum: float = 0.0  # over the steps of this epoch
    best_top1: float = -1.0
    best_epoch: int = -1
    curve: tuple[Mapping[str, int | float | None], ...] = field(default=())

    def stepped(self, loss: float) -> "Progress":
        """One step further."""
        return replace(self, step=self.step + 1, loss_sum=self.loss_sum + loss)


STATE: Final = "state.safetensors"


def forget_state(folder: Path) -> None:
    """Remove the state of a training run whose result is safe elsewhere."""
    (folder / STATE).unlink(missing_ok=True)


def save_state(  # noqa: PLR0913, PLR0917  # the four things that make up a state, and where
    path: Path,
    progress: Progress,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None,
    best: Mapping[str, Tensor] | None,
) -> None:
    """Write everything in one file, in one step."""
    state = optimizer.state_dict()
    tensors = {f"net.{name}": value for name, value in detached(net).items()}
    if average is not None:
        tensors |= {f"ema.{name}": value for name, value in detached(average).items()}
    if best is not None:
        tensors |= {f"best.{name}": value.contiguous() for name, value in best.items()}
    numbers: dict[str, dict[str, object]] = {}
    for index, slots in state["state"].items():
        for name, value in slots.items():
            if isinstance(value, Tensor):
                kept = value.detach().cpu().contiguous().clone()
                tensors[f"optimizer.{index}.{name}"] = kept
            else:
                numbers.setdefault(str(index), {})[name] = value
    write_tensors(path, tensors, {"progress": asdict(progress), "numbers": numbers})


def load_state(
    path: Path,
    key: str,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None,
) -> tuple[Progress, dict[str, Tensor] | None] | None:
    """Restore what `save_state` wrote, in place; None where there is nothing to resume.

    A state of other options or data, or a damaged one, is nothing to resume.
    """
    if not path.is_file():
        return None
    try:
        tensors, record = read_tensors_and_record(path)
    except InputRejectedError:
        return None
    try:
        progress = record_as(Progress, record.get("progress"), source=str(path))
    except InputRejectedError:
        return None
    if progress.key != key:
        return None
    net.load_state_dict(_under("net.", tensors))
    if average is not None:
        average.load_state_dict(_under("ema.", tensors))
    slots: dict[int, dict[str, object]] = {}
    groups = optimizer.state_dict()["param_groups"]
    weights = [each for group in optimizer.param_groups for each in group["params"]]
    order = [index for group in groups for index in group["params"]]
    weight_of = dict(zip(order, weights, strict=True))
    for name, value in _under("optimizer.", tensors).items():
        index, slot = name.split(".", 1)
        kept = _in_layout_of(weight_of.get(int(index)), value)
        slots.setdefault(int(index), {})[slot] = kept
    numbers = record.get("numbers")
    for index, more in (numbers if isinstance(numbers, dict) else {}).items():
        slots.setdefault(int(index), {}).update(more)
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
    return progress, _under("best.", tensors) or None


def _in_layout_of(weight: Tensor | None, tensor: Tensor) -> Tensor:
    """As `weight` lies in memory, in training; safetensors keeps no strides."""
    if weight is None or weight.shape != tensor.shape:  # as for a counter of steps
        return tensor
    return torch.empty_like(weight, dtype=tensor.dtype, device="cpu").copy_(tensor)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name starts with `prefix`, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
