"""What a training run sees: which images, how they are varied, at which resolution."""

import math
from dataclasses import replace
from typing import Final

from compress.data.augment import Augment, default_augment
from compress.data.data import Data, Images
from compress.recipe.training import Training
from runtime.errors import InputRejectedError

# The share of the epochs after which a progressive run sees full resolution.
_PROGRESSIVE_UNTIL: Final = 0.75
_STEP_PIXELS: Final = 16


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


def side_at(epoch: int, options: Training, *, full: int) -> int:
    """The resolution of an epoch, pixels; `full` unless the run is a progressive one.

    From the share `options.progressive` of it up in equal steps (Tan and Le 2021).
    """
    share = options.progressive
    if share is None:
        return full
    grown = epoch / max(1, _PROGRESSIVE_UNTIL * options.epochs)
    side = full * min(1.0, share + (1 - share) * grown)
    return min(full, _STEP_PIXELS * math.ceil(side / _STEP_PIXELS))
