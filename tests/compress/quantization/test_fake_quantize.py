"""Rounding that gradients pass, against the formulas of the papers."""

import torch

from compress.int8.grids import bias_steps, snapped_weight, weight_scales
from compress.int8.kernels import quantize
from compress.quantization.fake_quantize import (
    Learnt,
    fake_quantized,
    fake_quantized_bias,
    fake_quantized_weight,
    lsq,
)
from export.qparams import Grid

GRID = Grid(0.03, -20)


def values(count: int = 400) -> torch.Tensor:
    """Some within the range of `GRID`, some beyond either end."""
    return torch.linspace(-5.0, 6.0, count).requires_grad_()


def test_the_gradient_of_a_learnt_scale_is_that_of_the_paper() -> None:
    """Esser et al. 2020, equation 3, and 1 / sqrt(N Q) of section 2.2."""
    given, scale = values(), torch.tensor(0.02, requires_grad=True)
    weights = torch.randn(len(given))

    (lsq(given, scale, -100, 50, shared=400) * weights).sum().backward()

    steps = given.detach() / 0.02
    slope = torch.where(steps <= -100, -100.0, steps.round() - steps)
    slope = torch.where(steps >= 50, 50.0, slope)
    wanted = (weights * slope).sum() / (400 * 50) ** 0.5
    torch.testing.assert_close(scale.grad, wanted, rtol=1e-4, atol=1e-5)
    inside = (steps > -100) & (steps < 50)
    torch.testing.assert_close(given.grad, torch.where(inside, weights, 0.0))


def test_a_learnt_grid_rounds_as_a_given_one() -> None:
    learnt = Learnt(torch.tensor(GRID.scale), GRID.zero_point)

    with torch.no_grad():
        rounded = fake_quantized(values()[None], learnt)[0]

    torch.testing.assert_close(rounded, quantize(values().detach(), GRID))


def test_a_given_grid_passes_gradients_within_its_range_only() -> None:
    given = values()

    rounded = fake_quantized(given, GRID)
    rounded.sum().backward()

    torch.testing.assert_close(rounded, quantize(given.detach(), GRID))
    inside = (given > GRID.low) & (given < GRID.high)
    assert torch.equal(given.grad, inside.float())  # type: ignore[arg-type]


def test_weights_and_biases_are_rounded_as_they_are_stored() -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(4, 3, 2, 2), torch.randn(4).requires_grad_()
    scales = weight_scales(weight)

    for learnt in (False, True):
        rounded = fake_quantized_weight(weight, scales, learnt=learnt)
        torch.testing.assert_close(rounded, snapped_weight(weight, scales))
    shifted = fake_quantized_bias(bias, scales * 0.1)
    shifted.sum().backward()

    wanted = bias_steps(bias.detach(), scales * 0.1) * (scales * 0.1)
    torch.testing.assert_close(shifted.detach(), wanted)
    assert torch.equal(bias.grad, torch.ones(4))  # type: ignore[arg-type]
