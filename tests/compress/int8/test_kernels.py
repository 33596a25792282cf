"""The kernels against integer arithmetic done in int64 and exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.int8 import kernels
from compress.int8.grids import Grid, grid_between, weight_scales, weight_steps

STEPS = st.integers(-128, 127)


def real(steps: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The real numbers that steps stand for."""
    return (steps.float() - grid.zero_point) * grid.scale


def integers(values: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The steps that real numbers stand on."""
    steps = values.double() / grid.scale
    assert (steps - steps.round()).abs().max() < 1e-3
    return steps.round().long() + grid.zero_point


def requantized(sums: np.ndarray, factors: np.ndarray, grid: Grid) -> np.ndarray:
    """Integer sums to steps: one float32 product, half to even, saturated."""
    scaled = np.rint(sums.astype(np.float32) * factors.astype(np.float32))
    return np.clip(scaled + grid.zero_point, -128, 127).astype(np.int64)


@pytest.mark.parametrize("groups", [1, 8])
def test_a_convolution_is_that_of_an_integer_unit(groups: int) -> None:
    rng = torch.Generator().manual_seed(0)
    source, target = Grid(0.02, -14), Grid(0.05, 3)
    steps = torch.randint(-128, 128, (2, 8, 9, 9), generator=rng)
    weight = torch.randn(16, 8 // groups, 3, 3, generator=rng)
    scales = weight_scales(weight)
    whole = weight_steps(weight, scales).float()
    bias = torch.randint(-5000, 5000, (16,), generator=rng).float()
    factors = scales * source.scale / target.scale
    geometry = ((1, 1), (1, 1), (1, 1), groups)
    have = kernels.conv2d(
        real(steps, source), whole, bias, geometry, source, factors, target,
        kernels.UNBOUNDED,
    )  # fmt: skip
    # float64 convolves these integers exactly, whatever the order.
    sums = torch.nn.functional.conv2d(
        steps.double() - source.zero_point, whole.double(), bias.double(),
        padding=1, groups=groups,
    )  # fmt: skip
    want = requantized(sums.numpy(), factors.view(1, -1, 1, 1).numpy(), target)
    assert np.array_equal(integers(have, target).numpy(), want)


@settings(max_examples=200, deadline=None)
@given(STEPS, STEPS, st.integers(-128, 127), st.integers(-64, 64))
def test_a_sum_of_one_scale_is_exact(a: int, b: int, zero: int, other: int) -> None:
    first, second, target = Grid(0.1, zero), Grid(0.1, other), Grid(0.1, -7)
    have = kernels.add(
        real(torch.tensor([a]), first), real(torch.tensor([b]), second),
        first, second, target, kernels.UNBOUNDED,
    )  # fmt: skip
    want = max(-128, min(127, (a - zero) + (b - other) - 7))
    assert integers(have, target).item() == want


@settings(max_examples=200, deadline=None)
@given(STEPS, STEPS)
def test_a_product_is_rounded_once(a: int, b: int) -> None:
    first, second, target = Grid(0.03, -20), Grid(1 / 256, -128), Grid(0.02, -8)
    have = kernels.multiply(
        real(torch.tensor([a]), first), real(torch.tensor([b]), second),
        first, second, target, kernels.UNBOUNDED,
    )  # fmt: skip
    exact = Fraction(first.scale) * Fraction(second.scale) / Fraction(target.scale)
    away = exact * (a + 20) * (b + 128)
    want = max(-128, min(127, round(away) - 8))
    assert abs(integers(have, target).item() - want) <= int(
        abs(away - round(away)) > Fraction(49999, 100000)
    )


def test_a_global_average_rounds_the_mean_of_the_steps() -> None:
    source, target = Grid(0.05, -30), Grid(0.04, -60)
    steps = torch.randint(-128, 128, (3, 4, 7, 7))
    have = kernels.global_average(real(steps, source), source, target)
    mean = (steps.double() + 30).mean((2, 3), keepdim=True) * (0.05 / 0.04)
    want = (mean.round() - 60).clamp(-128, 127).long()
    assert (integers(have, target) - want).abs().max() <= 1
    assert (integers(have, target) == want).double().mean() > 0.9


def test_a_clamp_saturates_the_steps() -> None:
    grid = grid_between(-2.0, 8.0)
    values = torch.linspace(-3, 9, 200)
    have = kernels._real(torch.round(values / grid.scale), grid, (0.0, 6.0))
    assert have.min() == 0
    assert abs(have.max() - 6) <= grid.scale / 2


@settings(max_examples=200, deadline=None)
@given(
    st.floats(-100, 100, allow_nan=False),
    st.floats(0.0625, 50),
    st.floats(0.0625, 50),
)
def test_a_grid_holds_zero_and_rounds_by_half_a_step(
    value: float, below: float, above: float
) -> None:
    grid = grid_between(-below, above)
    rounded = kernels.quantize(torch.tensor([value]), grid).item()
    assert kernels.quantize(torch.zeros(1), grid).item() == 0
    inside = min(max(value, grid.low), grid.high)
    assert abs(rounded - inside) <= grid.scale * 0.501
