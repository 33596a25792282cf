"""The only training loop: fine-tuning, teachers, distillation and QAT use it."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace

import torch
from torch import Tensor

from compress.context.console import counted
from compress.context.context import RunContext
from compress.data.batches import batch_count, batches
from compress.data.data import Batch, Data, Images
from compress.evaluation.costs import accuracy
from compress.int8.simulate import QuantizedNet
from compress.models import meta
from compress.models.checkpoint import weights_digest
from compress.models.model import Model
from compress.models.names import family
from compress.recipe.training import Training
from compress.sparsity.goal import SparsitySchedule
from compress.training.interrupt import Stop, stopping_politely
from compress.training.learner import Learner
from compress.training.masked import held
from compress.training.mixing import mixed
from compress.training.penalty import Penalty
from compress.training.resume import STATE, Progress
from compress.training.scarce import doubt_of
from compress.training.schedule import rate_factor
from compress.training.settling import Settling
from compress.training.views import augmentation, side_at, training_images
from runtime.errors import InterruptedRunError, RecipeError
from runtime.files import digest_of

Loss = Callable[[Tensor, Batch], Tensor]


def fit(  # noqa: PLR0913  # what, on what, towards what, how; the rest has defaults
    model: Model,
    data: Data,
    loss: Loss,
    options: Training,
    context: RunContext,
    *,
    views: int | None = None,
    thinning: SparsitySchedule | None = None,
    penalty: Penalty | None = None,
) -> Model:
    """Train a copy of `model` on `data.train` and return it, in eval mode, on the CPU.

    `loss` maps logits [n, classes] and the batch they came from to a scalar, the mean
    over the batch. With `views`, epoch e sees augmentation e modulo `views` of every
    image; without, each epoch sees new ones. In the weights that the model's record
    calls masked a zero stays a zero, and `thinning` makes more of them on the way.
    `penalty`, of the network's weights, is added to every loss.
    Everything is a function of the options, the data and `context.seed`: a run that was
    stopped, politely or not, goes on from `context.folder` and ends with the same weights.
    Under `torchrun` each process takes its share of every batch.

    Raises RecipeError where the loss is no longer finite, InterruptedRunError on
    SIGINT or SIGTERM, with the state saved.
    """
    if isinstance(model.net, QuantizedNet):
        raise RecipeError(
            f"{context.title}: {model.spec.name} is INT8 and does not learn; train the "
            "float model it was made from, or quantize that with --mode qat"
        )
    train = training_images(data)
    options = options.training(
        family(model.spec.name), trained=model.trained, images=len(train)
    )
    run = _Run(model, train, data, loss, options, context, views, thinning, penalty)
    with stopping_politely() as stop, torch.random.fork_rng(devices=[]):
        return run.finish(stop)


class _Run:
    """One call of `fit`: the learner, the data, and how far it has come."""

    def __init__(  # noqa: PLR0913, PLR0917  # the arguments of `fit`, nothing else
        self,
        model: Model,
        train: Images,
        data: Data,
        loss: Loss,
        options: Training,
        context: RunContext,
        views: int | None,
        thinning: SparsitySchedule | None,
        penalty: Penalty | None,
    ) -> None:
        self.model, self.train, self.data, self.loss = model, train, data, loss
        self.options, self.context, self.views = options, context, views
        self.thinning, self.penalty = thinning, penalty
        self.learner = Learner(
            model.net,
            options,
            seed=context.seed,
            device=context.device,
            held=held(model),
            memory_format=model.memory_format,
        )
        self.augment = augmentation(data, options)
        self.batch_size = options.images_a_step(len(train))
        self.drop_last = len(train) > self.batch_size
        self.steps = batch_count(
            len(train), batch_size=self.batch_size, drop_last=self.drop_last
        )
        self.total = options.epochs * self.steps
        self.settling = Settling(
            model, train, options, context, self.learner, thinning, steps=self.steps
        )
        self.progress = Progress(
            key=digest_of(
                options.model_dump(),
                data.name,
                train.digest,
                weights_digest(model),
                context.seed,
                views,
                self.augment.as_record() if self.augment else None,
                asdict(thinning) if thinning else None,
                penalty.as_record() if penalty else None,
            )
        )
        self.saved_at = time.monotonic()
        self.check()

    def check(self) -> None:
        """Refuse what would only come out in the middle of the run."""
        processes = self.learner.world
        shared = min(self.batch_size, len(self.train))
        if shared % processes:
            # Averaged over processes, gradients are the mean over the batch only then.
            raise RecipeError(
                f"batch_size: {processes} processes cannot share {shared} images "
                f"evenly; use a multiple of {processes}"
            )
        if self.options.patience is not None and self.data.val is None:
            raise RecipeError(
                f"patience: {self.data.name} has no validation split; leave it out"
            )
        if self.options.progressive is None:
            return
        smallest = self.side
        if meta.outputs(meta.on_meta(self.model.net), smallest) is None:
            raise RecipeError(
                f"progressive: {self.model.spec.name} cannot run on {smallest}x"
                f"{smallest} images; start at a larger share, or leave it out"
            )

    def finish(self, stop: Stop) -> Model:
        """Train from wherever the state file stands to the end."""
        if (reason := doubt_of(self.model, self.train, self.options)) is not None:
            self.context.console.doubt(f"{self.context.title}: {reason}")
        self.resume()
        with self.context.console.progress(self.context.title, self.total) as advance:
            advance(self.done, "")
            while self.progress.epoch < self.options.epochs and not self.patience_lost:
                self.epoch(stop, advance)
        if self.thinning is not None:  # there may have been too few steps for the last
            self.thinning.reach_(self.learner.learned, 1.0)
        net = self.learner.result(self.settling.shown(self.done))
        return replace(self.model, net=net, trained=True)

    def resume(self) -> None:
        """Take up the state of an earlier, unfinished run of the same thing."""
        found = self.learner.load(self.context.folder / STATE, self.progress.key)
        if found is not None:
            self.progress = found
            self.context.console.tell(
                f"{self.context.title}: goes on at epoch {found.epoch + 1}, "
                f"step {found.step + 1}"
            )

    @property
    def patience_lost(self) -> bool:
        """Whether the last `patience` epochs brought no better top-1."""
        waited = self.progress.epoch - 1 - self.progress.best_epoch
        patience = self.options.patience
        return patience is not None and self.progress.epoch > 0 and waited >= patience

    @property
    def done(self) -> int:
        """Steps so far."""
        return self.progress.epoch * self.steps + self.progress.step

    @property
    def side(self) -> int:
        """The resolution of this epoch, pixels."""
        full = self.model.preprocess.size
        return side_at(self.progress.epoch, self.options, full=full)

    def epoch(self, stop: Stop, advance: Callable[[int, str], None]) -> None:
        """Train the rest of the current epoch, then look at the validation images."""
        epoch = self.progress.epoch
        self.learner.train_mode()
        loader = batches(
            self.train,
            batch_size=self.batch_size,
            seed=self.context.seed,
            epoch=epoch,
            view=epoch if self.views is None else epoch % self.views,
            augment=self.augment,
            shuffle=True,
            drop_last=self.drop_last,
            workers=self.context.workers,
            rank=self.learner.rank,
            world=self.learner.world,
            start=self.progress.step,
        )
        for batch in loader:
            value = self.step(batch)
            self.progress = self.progress.stepped(value)
            advance(1, f"loss {value:.3f}")
            self.save_if_due(stop)
        self.close_epoch()
        self.save_if_due(stop)  # asked while the validation images were looked at

    def step(self, batch: Batch) -> float:
        """One optimizer step; returns the loss."""
        options, device = self.options, self.learner.device
        position, total = self.done, self.total
        # Dropout and mixing draw from here: a function of the seed and the step alone.
        torch.manual_seed((self.context.seed * 1_000_003 + position) % 2**63)
        moved = Batch(
            batch.index.to(device),
            batch.view,
            batch.pixels.to(device, non_blocking=True),
            batch.labels.to(device),
        )
        shown = mixed(moved, options, classes=len(self.data.classes))
        factor = rate_factor(
            options.schedule or "constant",
            position,
            total,
            warmup=options.warmup or 0.0,
        )
        self.learner.reach(position / total)
        self.settling.close_(position)
        if self.thinning is not None:
            self.thinning.reach_(self.learner.bare, position / total)
        value = self.learner.step(
            self.model.prepare(shown.pixels, size=self.side),
            lambda logits: self.cost(logits, shown),
            rate=factor * (options.learning_rate or 0.0),
        )
        if not math.isfinite(value):
            raise self.diverged(value)
        return value

    def cost(self, logits: Tensor, shown: Batch) -> Tensor:
        """What a step is to make smaller."""
        loss = self.loss(logits, shown)
        return loss if self.penalty is None else loss + self.penalty(self.learner.bare)

    def close_epoch(self) -> None:
        """Note what the epoch brought."""
        point = {
            "epoch": float(self.progress.epoch + 1),
            "loss": self.progress.loss_sum / max(1, self.progress.step),
        }
        best, best_epoch = self.progress.best_top1, self.progress.best_epoch
        if self.data.val is not None:
            shown = self.settling.shown(self.done)
            point["top1"] = accuracy(self.model.with_net(shown), self.data.val).top1
            if point["top1"] > best:
                best, best_epoch = point["top1"], self.progress.epoch
                if self.options.patience is not None:
                    self.learner.keep_best(shown)
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
        self.context.console.curve(self.context.title, self.options.epochs, point)
        counted = f"epoch {self.progress.epoch}/{self.options.epochs}"
        self.context.console.detail(f"{self.context.title}: {counted}: {told}")

    def save_if_due(self, stop: Stop) -> None:
        """Save every so often, and before giving way to an interrupt."""
        asked = self.learner.any_asks(stop.asked)
        due = time.monotonic() - self.saved_at >= self.context.save_seconds
        if not (asked or due):
            return
        self.learner.save(self.context.folder / STATE, self.progress)
        self.saved_at = time.monotonic()
        if asked:
            raise InterruptedRunError(
                f"{self.context.title}: stopped after {self.progress.epoch} of "
                f"{counted(self.options.epochs, 'epoch')} and "
                f"{counted(self.progress.step, 'step')}; "
                "run the same command again to go on from there"
            )

    def diverged(self, value: float) -> RecipeError:
        """What to say when the loss is no longer a number."""
        return RecipeError(
            f"{self.context.title}: the loss became {value} at step "
            f"{self.progress.step + 1} of epoch {self.progress.epoch + 1}; the last "
            f"saved state is kept; try a lower learning_rate (now "
            f"{self.options.learning_rate:g}), clip_norm: 1, a longer warmup, or "
            "precision: float32"
        )
