"""The only training loop: fine-tuning, teachers, distillation and later QAT use it."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from compress.census import accuracy
from compress.checkpoint import weights_digest
from compress.data.augment import Augment, default_augment
from compress.data.batches import batch_count, batches
from compress.data.data import Batch, Data, Images
from compress.interrupt import Stop, stopping_politely
from compress.job import Job
from compress.mixing import mixed
from compress.models.model import Model
from compress.models.names import family
from compress.optimise import make_ready_, optimizer_for, set_rate_, train_mode_
from compress.resume import STATE, Progress, load_state, save_state
from compress.schedule import rate_factor
from compress.training import Training
from runtime.errors import InputRejectedError, InterruptedRunError, RecipeError
from runtime.files import digest_of

Loss = Callable[[Tensor, Batch], Tensor]

# The share of the epochs after which a progressive run sees full resolution.
PROGRESSIVE_UNTIL = 0.75
PROGRESSIVE_STEP_PIXELS = 16


def augmentation(data: Data, options: Training) -> Augment | None:
    """How the training images of `data` are varied under `options`."""
    if options.augment == "none" and options.randaugment is None:
        return None
    chosen = default_augment(data) if options.augment == "auto" else Augment()
    return replace(chosen, randaugment=options.randaugment)


def training_images(data: Data) -> Images:
    """The images to train on; an evaluation set has none."""
    if data.train is None:
        raise InputRejectedError(
            f"data: {data.name} has no training split; it can only be evaluated on"
        )
    return data.train


def fit(  # noqa: PLR0913  # what, on what, towards what, how; the rest has defaults
    model: Model,
    data: Data,
    loss: Loss,
    options: Training,
    job: Job,
    *,
    title: str = "train",
    views: int | None = None,
) -> Model:
    """Train a copy of `model` on `data.train` and return it, in eval mode, on the CPU.

    `loss` maps logits [n, classes] and the batch they came from to a scalar, the mean
    over the batch. With `views`, epoch e sees augmentation e modulo `views` of every
    image; without, each epoch sees new ones. Everything is a function of the options,
    the data and `job.seed`: a run that was stopped, politely or not, goes on from
    `job.folder` and ends with the same weights. Under `torchrun` each process takes
    its share of every batch.

    Raises RecipeError where the loss is no longer finite, InterruptedRunError on
    SIGINT or SIGTERM, with the state saved.
    """
    train = training_images(data)
    options = options.training(family(model.spec.name))
    run = _Run(model, train, data, loss, options, job, title, views)
    with stopping_politely() as stop, torch.random.fork_rng(devices=[]):
        return run.finish(stop)


class _Run:
    """One call of `fit`: what changes while it lasts."""

    def __init__(  # noqa: PLR0913  # the arguments of `fit`, nothing else
        self,
        model: Model,
        train: Images,
        data: Data,
        loss: Loss,
        options: Training,
        job: Job,
        title: str,
        views: int | None,
    ) -> None:
        self.model, self.train, self.data, self.loss = model, train, data, loss
        self.options, self.job, self.title, self.views = options, job, title, views
        self.accelerator = accelerator_for(job.device, options.precision)
        self.world = self.accelerator.num_processes
        self.augment = augmentation(data, options)
        self.steps = batch_count(
            len(train),
            batch_size=options.batch_size,
            drop_last=len(train) > options.batch_size,
        )
        net = copy.deepcopy(model.net)
        make_ready_(net, options, seed=job.seed)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = optimizer_for(net, options)
        self.net, self.prepared = self.accelerator.prepare(net, optimizer)
        self.bare: nn.Module = self.accelerator.unwrap_model(
            self.net, keep_fp32_wrapper=False
        )
        self.optimizer: torch.optim.Optimizer = self.prepared.optimizer
        self.average = (
            AveragedModel(
                self.bare,
                multi_avg_fn=get_ema_multi_avg_fn(options.ema),  # type: ignore[no-untyped-call]
                use_buffers=True,
            )
            if options.ema is not None
            else None
        )
        self.best: dict[str, Tensor] | None = None
        self.state_file = job.folder / STATE
        self.progress = Progress(
            key=digest_of(
                options.model_dump(),
                data.name,
                train.digest,
                weights_digest(model),
                job.seed,
                views,
                self.augment.as_record() if self.augment else None,
            )
        )
        self.saved_at = time.monotonic()

    def finish(self, stop: Stop) -> Model:
        """Train from wherever the state file stands to the end."""
        self.resume()
        total = self.options.epochs * self.steps
        done = self.progress.epoch * self.steps + self.progress.step
        with self.job.screen.progress(self.title, total) as advance:
            advance(done, "")
            while self.progress.epoch < self.options.epochs and not self.patience_lost:
                self.epoch(stop, advance)
        return self.result()

    def resume(self) -> None:
        """Take up the state of an earlier, unfinished run of the same thing."""
        found = load_state(
            self.state_file, self.progress.key, self.bare, self.optimizer, self.average
        )
        if found is not None:
            self.progress, self.best = found
            self.job.screen.tell(
                f"{self.title}: goes on at epoch {self.progress.epoch + 1}, "
                f"step {self.progress.step + 1}"
            )

    @property
    def patience_lost(self) -> bool:
        """Whether the last `patience` epochs brought no better top-1."""
        waited = self.progress.epoch - 1 - self.progress.best_epoch
        patience = self.options.patience
        return patience is not None and self.progress.epoch > 0 and waited >= patience

    def epoch(self, stop: Stop, advance: Callable[[int, str], None]) -> None:
        """Train the rest of the current epoch, then look at the validation images."""
        epoch = self.progress.epoch
        train_mode_(self.bare, self.options)
        loader = batches(
            self.train,
            batch_size=self.options.batch_size,
            seed=self.job.seed,
            epoch=epoch,
            view=epoch if self.views is None else epoch % self.views,
            augment=self.augment,
            shuffle=True,
            drop_last=len(self.train) > self.options.batch_size,
            workers=self.job.workers,
            rank=self.accelerator.process_index,
            world=self.world,
            start=self.progress.step,
        )
        for batch in loader:
            value = self.step(batch)
            self.progress = self.progress.stepped(value)
            advance(1, f"loss {value:.3f}")
            self.save_if_due(stop)
        self.close_epoch()

    def step(self, batch: Batch) -> float:
        """One optimiser step; returns the loss."""
        position = self.progress.epoch * self.steps + self.progress.step
        # Dropout and mixing draw from here: a function of the seed and the step alone.
        torch.manual_seed((self.job.seed * 1_000_003 + position) % 2**63)
        options, device = self.options, self.accelerator.device
        batch = Batch(
            batch.index.to(device),
            batch.view,
            batch.pixels.to(device, non_blocking=True),
            batch.labels.to(device),
        )
        batch = mixed(batch, options, classes=len(self.data.classes))
        images = self.model.prepare(batch.pixels, size=self.side())
        factor = rate_factor(
            options.schedule or "constant",
            position,
            options.epochs * self.steps,
            warmup=options.warmup or 0.0,
        )
        set_rate_(self.optimizer, factor * (options.learning_rate or 0.0))
        with self.accelerator.autocast():
            logits = self.net(images)
        loss = self.loss(logits.float(), batch)
        value = float(self.accelerator.reduce(loss.detach(), reduction="mean"))
        if not math.isfinite(value):
            raise self.diverged(value)
        self.accelerator.backward(loss)
        if options.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.net.parameters(), options.clip_norm)
        self.prepared.step()
        self.prepared.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.bare)
        return value

    def side(self) -> int:
        """The resolution of this epoch, pixels."""
        full, share = self.model.preprocess.size, self.options.progressive
        if share is None:
            return full
        grown = self.progress.epoch / max(1, PROGRESSIVE_UNTIL * self.options.epochs)
        side = full * min(1.0, share + (1 - share) * grown)
        return min(full, math.ceil(side / PROGRESSIVE_STEP_PIXELS) * 16)

    def close_epoch(self) -> None:
        """Note what the epoch brought."""
        point = {
            "epoch": float(self.progress.epoch + 1),
            "loss": self.progress.loss_sum / max(1, self.progress.step),
        }
        best, best_epoch = self.progress.best_top1, self.progress.best_epoch
        if self.data.val is not None:
            point["top1"] = accuracy(
                self.model.with_net(self.learned), self.data.val
            ).top1
            if point["top1"] > best:
                best, best_epoch = point["top1"], self.progress.epoch
                if self.options.patience is not None:
                    state = self.learned.state_dict()
                    self.best = {k: v.detach().clone() for k, v in state.items()}
        self.progress = replace(
            self.progress,
            epoch=self.progress.epoch + 1,
            step=0,
            loss_sum=0.0,
            best_top1=best,
            best_epoch=best_epoch,
            curve=(*self.progress.curve, point),
        )
        told = ", ".join(f"{k} {v:.4f}" for k, v in point.items() if k != "epoch")
        self.job.screen.curve(self.title, self.options.epochs, point)
        self.job.screen.detail(
            f"{self.title}: epoch {self.progress.epoch}/{self.options.epochs}: {told}"
        )

    @property
    def learned(self) -> nn.Module:
        """The network as it would be handed back now: averaged where asked for."""
        if self.average is None:
            return self.bare
        module: nn.Module = self.average.module
        return module

    def save_if_due(self, stop: Stop) -> None:
        """Save every so often, and before giving way to an interrupt."""
        asked = stop.asked
        if self.world > 1:  # all processes must stop at the same step
            asked = bool(self.accelerator.reduce(torch.tensor(float(asked))).item())
        due = time.monotonic() - self.saved_at >= self.job.save_seconds
        if not (asked or due):
            return
        self.save()
        if asked:
            raise InterruptedRunError(
                f"{self.title}: stopped in epoch {self.progress.epoch + 1} of "
                f"{self.options.epochs}; run the same command again to go on from there"
            )

    def save(self) -> None:
        """Write the state, once for all processes."""
        if self.accelerator.is_main_process:
            save_state(
                self.state_file,
                self.progress,
                self.bare,
                self.optimizer,
                self.average,
                self.best,
            )
        self.saved_at = time.monotonic()

    def diverged(self, value: float) -> RecipeError:
        """What to say when the loss is no longer a number."""
        return RecipeError(
            f"{self.title}: the loss became {value} at step {self.progress.step + 1} of "
            f"epoch {self.progress.epoch + 1}; the last saved state is kept; try a lower "
            f"learning_rate (now {self.options.learning_rate:g}), clip_norm: 1, "
            "a longer warmup, or precision: float32"
        )

    def result(self) -> Model:
        """The trained network: averaged, and the best epoch where patience was asked."""
        if self.best is not None:
            self.learned.load_state_dict(self.best)
        net = copy.deepcopy(self.learned).cpu().eval()
        for parameter in net.parameters():
            parameter.requires_grad_(True)
        self.accelerator.free_memory()
        return self.model.with_net(net)


def accelerator_for(device: str, precision: str) -> Accelerator:
    """The accelerator of one training run.

    accelerate keeps its state in a singleton that refuses a second precision; each run
    has its own, so only the process group is kept.
    """
    AcceleratorState._reset_state(reset_partial_state=False)  # noqa: SLF001
    mixed_precision = {"float32": "no"}.get(precision, precision)
    return Accelerator(cpu=device == "cpu", mixed_precision=mixed_precision)
