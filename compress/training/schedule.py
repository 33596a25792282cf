"""The learning rate as a pure function of the step, so that resuming is exact."""

import math
from typing import Literal

# Smith and Topin 2017; the constants are those of torch.optim.lr_scheduler.OneCycleLR.
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1 / 25 / 1e4
# He et al. 2015 divide the rate by ten twice; torchvision does so every third of a run.
STEP_DROPS = (1 / 3, 2 / 3)
STEP_FACTOR = 0.1

Schedule = Literal["constant", "step", "cosine", "one-cycle"]


def rate_factor(schedule: Schedule, step: int, total: int, *, warmup: float) -> float:
    """What the peak learning rate is multiplied by at `step` of `total`.

    `warmup` is the share of all steps in which the factor rises linearly from near
    zero; a one-cycle schedule has a rise of its own and ignores it.
    """
    if schedule == "one-cycle":
        return _one_cycle(step, total)
    rise = round(warmup * total)
    if step < rise:
        return (step + 1) / rise
    progress = (step - rise) / max(1, total - rise)
    match schedule:
        case "constant":
            return 1.0
        case "step":
            return STEP_FACTOR ** sum(progress >= drop for drop in STEP_DROPS)
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))


def _one_cycle(step: int, total: int) -> float:
    """Cosine up to the peak, then cosine down to almost nothing."""
    peak = ONE_CYCLE_RISE * total - 1
    if step <= peak:
        return _between(ONE_CYCLE_START, 1.0, step / peak)
    return _between(1.0, ONE_CYCLE_END, (step - peak) / max(1.0, total - 1 - peak))


def _between(start: float, end: float, share: float) -> float:
    """Follow half a cosine from `start` to `end`."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
