"""Learning-rate schedules against torch's own and against closed forms."""

import math

import pytest
import torch

from compress.training.schedule import rate_factor


def test_one_cycle_is_torchs_one_cycle() -> None:
    """The factor times the peak is what torch.optim's scheduler sets, step by step."""
    total, peak = 50, 0.3
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=peak, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=peak, total_steps=total, cycle_momentum=False
    )

    for step in range(total):
        ours = peak * rate_factor("one-cycle", step, total, warmup=0.5)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if step + 1 < total:
            theirs.step()


def test_cosine_after_warmup_is_torchs_cosine() -> None:
    """After the linear rise, the rest is CosineAnnealingLR over the remaining steps."""
    total, rise = 40, 8
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total - rise)

    for step in range(rise, total):
        ours = rate_factor("cosine", step, total, warmup=rise / total)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        theirs.step()


def test_warmup_rises_linearly_to_the_peak() -> None:
    """Step k of a rise of n steps has k + 1 parts of n."""
    factors = [rate_factor("constant", step, 100, warmup=0.1) for step in range(12)]

    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10:] == [1.0, 1.0]


def test_step_divides_by_ten_at_each_third() -> None:
    """As torchvision's reference training: 30 and 60 of 90 epochs."""
    factors = [rate_factor("step", step, 90, warmup=0.0) for step in range(90)]

    assert factors[:30] == [1.0] * 30
    assert factors[30:60] == pytest.approx([0.1] * 30)
    assert factors[60:] == pytest.approx([0.01] * 30)


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "one-cycle"])
@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_short_runs_have_finite_positive_rates(schedule: str, total: int) -> None:
    """A run of a single step must train, not divide by zero."""
    for step in range(total):
        factor = rate_factor(schedule, step, total, warmup=0.1)  # type: ignore[arg-type]
        assert math.isfinite(factor)
        assert 0 < factor <= 1
