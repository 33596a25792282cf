"""The network as it would be handed back now, its batch-norm statistics its own."""

import copy
import math
from typing import Final

from torch import nn

from compress.context.context import RunContext
from compress.data.data import Images
from compress.models.model import Model
from compress.recipe.training import Training
from compress.sparsity.goal import SparsitySchedule
from compress.training.learner import Learner
from compress.training.statistics import (
    Gathering,
    norms_of,
    plain_batches,
    reestimated,
    stale,
)
from compress.training.views import side_at

# Averaged weights always need statistics of their own: what flows through their average
# is no average of what flowed through them (Izmailov et al. 2018, section 3.2).
_AVERAGED: Final = 0


class Settling:
    """When the statistics of a learner's network are stale, and what to do then.

    All of it is a function of the weights, the images and the number of steps done, so
    that a resumed training has nothing to restore.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # what a training consists of
        self,
        model: Model,
        train: Images,
        options: Training,
        context: RunContext,
        learner: Learner,
        thinning: SparsitySchedule | None,
        *,
        steps: int,
    ) -> None:
        """Of a training on `train` with so many steps an epoch."""
        self.options, self.learner, self.thinning = options, learner, thinning
        self.steps, self.total = steps, steps * options.epochs
        self.full = model.preprocess.size
        self.images = plain_batches(
            model, train, seed=context.seed, device=str(learner.device)
        )
        learner.train_mode()
        self.learning = frozenset(
            name for name, norm in norms_of(learner.bare).items() if norm.training
        )

    def shown(self, done: int) -> nn.Module:
        """The network after `done` steps; a copy where its statistics were stale."""
        net = self.learner.learned
        if done == 0:
            return net
        if self.gathered(done):
            net = copy.deepcopy(net)
            self.regather_(net, done)
            return net
        steps = done - self.changed_at(done)
        if self.learner.average is not None:
            steps = _AVERAGED
        names = stale(net, self.learning, steps=steps)
        return reestimated(net, names, self.images) if names else net

    def changed_at(self, done: int) -> int:
        """The step at which what flows through the network last changed otherwise.

        Otherwise than by learning: weights became zero, or the resolution was not the
        one that is evaluated at.
        """
        changed = 0
        if self.thinning is not None:
            changed = math.ceil(self.thinning.until * self.total)
        if self.options.progressive is not None:
            smaller = [
                epoch
                for epoch in range(math.ceil(done / self.steps))
                if side_at(epoch, self.options, full=self.full) != self.full
            ]
            changed = max(changed, self.steps * (1 + max(smaller, default=-1)))
        return min(changed, done)

    def gathered(self, done: int) -> bool:
        """Whether the last of `done` steps was one in which a network gathers."""
        net = self.learner.bare
        if done == 0 or not isinstance(net, Gathering):
            return False
        return net.gathers((done - 1) / self.total)

    def close_(self, done: int) -> None:
        """Before the first step without gathering: settle what it goes on with."""
        if self.gathered(done) and not self.gathered(done + 1):
            self.regather_(self.learner.bare, done)
            if self.learner.average is not None:
                self.regather_(self.learner.learned, done)

    def regather_(self, net: nn.Module, done: int) -> None:
        """Give a gathering network statistics of its own if it had too few steps."""
        if isinstance(net, Gathering):
            net.regather_(self.images, steps=done)
