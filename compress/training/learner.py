"""A network while it learns: optimizer, averaged weights, processes, state on disk."""

import copy
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from compress.recipe.training import Training
from compress.sparsity.masks import apply_, masks_of
from compress.training.optimizer import (
    as_before_,
    make_ready_,
    optimizer_for,
    set_rate_,
    train_mode_,
)
from compress.training.resume import Progress, load_state, save_state
from runtime.errors import RecipeError


@runtime_checkable
class Ripening(Protocol):
    """A network of which some parts stop learning before the others."""

    def reach_(self, share: float) -> None:
        """Take note that `share` of the training, 0 to 1, is over."""
        ...


class Learner:
    """A copy of a network, prepared by accelerate for one device or several."""

    def __init__(  # noqa: PLR0913  # what learns, how, where
        self,
        net: nn.Module,
        options: Training,
        *,
        seed: int,
        device: str,
        held: Collection[str] = (),
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        """Prepare a copy of `net` as resolved `options` say; `net` stays as it is.

        held: parameters in which a zero stays a zero, whatever a step makes of it.
        """
        self.options = options
        self.held = tuple(held)
        self.accelerator = accelerator_for(device, options.precision)
        net = copy.deepcopy(net)
        alive = masks_of(net, self.held)
        make_ready_(net, options, seed=seed)
        apply_(net, alive)
        net.to(memory_format=memory_format)  # type: ignore[call-overload]
        self.net, self.prepared = self.accelerator.prepare(
            net, optimizer_for(net, options)
        )
        self.bare: nn.Module = self.accelerator.unwrap_model(
            self.net, keep_fp32_wrapper=False
        )
        self.optimizer: torch.optim.Optimizer = self.prepared.optimizer
        self.average: AveragedModel | None = None
        if options.ema is not None:
            self.average = AveragedModel(
                self.bare,
                multi_avg_fn=get_ema_multi_avg_fn(options.ema),  # type: ignore[no-untyped-call]
                use_buffers=True,
            )
        self.best: Mapping[str, Tensor] | None = None

    @property
    def rank(self) -> int:
        """Which of the processes this is."""
        return int(self.accelerator.process_index)

    @property
    def world(self) -> int:
        """How many processes share each batch."""
        return int(self.accelerator.num_processes)

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def learned(self) -> nn.Module:
        """The network as it would be handed back now: averaged where asked for."""
        if self.average is None:
            return self.bare
        module: nn.Module = self.average.module
        return module

    def train_mode(self) -> None:
        """Switch to training, except for what is frozen."""
        train_mode_(self.bare, self.options)

    def reach(self, share: float) -> None:
        """Tell a network that ripens how much of the training is over, 0 to 1."""
        if isinstance(self.bare, Ripening):
            self.bare.reach_(share)

    def step(
        self, images: Tensor, loss_of: Callable[[Tensor], Tensor], *, rate: float
    ) -> float:
        """Take one optimizer step and give the loss, the mean over all processes.

        images: float32 [n, 3, size, size]; `loss_of` maps logits [n, classes] to a
        scalar. A loss that is not finite changes nothing.
        """
        with self.accelerator.autocast():
            logits = self.net(images)
        loss = loss_of(logits.float())
        value = float(self.accelerator.reduce(loss.detach(), reduction="mean"))
        if not torch.isfinite(torch.tensor(value)):
            return value
        set_rate_(self.optimizer, rate)
        self.accelerator.backward(loss)
        if self.options.clip_norm:
            self.accelerator.clip_grad_norm_(
                self.net.parameters(), self.options.clip_norm
            )
        # Read off the weights each time, so that a resumed run has nothing to restore.
        alive = masks_of(self.bare, self.held)
        self.prepared.step()
        self.prepared.zero_grad()
        apply_(self.bare, alive)
        if self.average is not None:
            self.average.update_parameters(self.bare)
            apply_(self.average.module, alive)
        return value

    def any_asks(self, asked: bool) -> bool:  # a vote is a boolean
        """Whether any process was asked to stop; all of them learn of it together."""
        if self.world == 1:
            return asked
        vote = torch.tensor(float(asked), device=self.device)
        return bool(self.accelerator.reduce(vote).item())

    def keep_best(self, shown: nn.Module) -> None:
        """Remember weights and statistics as they were judged."""
        state = shown.state_dict()
        self.best = {name: value.detach().clone() for name, value in state.items()}

    def save(self, path: Path, progress: Progress) -> None:
        """Write everything the next step depends on, once for all processes."""
        if self.accelerator.is_main_process:
            save_state(
                path, progress, self.bare, self.optimizer, self.average, self.best
            )

    def load(self, path: Path, key: str) -> Progress | None:
        """Take up the state that `save` wrote; None where there is none for `key`."""
        found = load_state(path, key, self.bare, self.optimizer, self.average)
        if found is None:
            return None
        progress, self.best = found
        return progress

    def result(self, shown: nn.Module) -> nn.Module:
        """`shown` on the CPU, in eval mode, with the best weights, if any were kept."""
        net = copy.deepcopy(shown)
        if self.best is not None:
            net.load_state_dict(self.best)
        net = net.cpu().eval()
        as_before_(net, self.options)
        self.accelerator.free_memory()
        return net


def accelerator_for(device: str, precision: str) -> Accelerator:
    """The accelerator of one training run.

    accelerate keeps its state in a singleton that refuses a second precision; each run
    has its own, so only the process group is kept.
    """
    if precision == "fp16" and device == "cpu":
        raise RecipeError("precision: fp16 needs a GPU; use bf16 or float32 on the CPU")
    several = torch.distributed.is_initialized()
    AcceleratorState._reset_state(reset_partial_state=not several)  # noqa: SLF001  # no public way
    mixed_precision = {"float32": "no"}.get(precision, precision)
    return Accelerator(cpu=device == "cpu", mixed_precision=mixed_precision)
