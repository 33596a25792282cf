"""Products against the closed forms and the decompositions of numpy."""

import numpy as np
import pytest
import torch

from compress.lowrank.products import (
    Basis,
    halves,
    mode_spectrum,
    spectrum,
    tucker2,
    weighed,
)


def outputs_of(kernel: torch.Tensor) -> Basis:
    """The directions of a kernel's outputs."""
    return mode_spectrum(kernel, axis=0).basis()


def error(weight: torch.Tensor, product: torch.Tensor, x: torch.Tensor) -> float:
    """The squared error of responses."""
    return float(((weight @ x - product @ x) ** 2).sum())


def test_on_white_inputs_it_is_the_singular_value_decomposition() -> None:
    """Eckart and Young: nothing of that rank is nearer to the weights."""
    weight = torch.randn(7, 11, dtype=torch.float64)
    found = spectrum(weight @ weight.T)

    a, b = halves(weight, found.basis(), rank=3)

    u, s, v = np.linalg.svd(weight.numpy(), full_matrices=False)
    np.testing.assert_allclose((a @ b).numpy(), (u[:, :3] * s[:3]) @ v[:3], atol=1e-10)
    assert found.share_of(3) == pytest.approx((s[:3] ** 2).sum() / (s**2).sum())


def test_it_is_the_best_for_the_responses_and_beats_plain_svd() -> None:
    """Against the solution through the inputs' moments: SVD of W M^1/2, then M^-1/2."""
    weight = torch.randn(6, 9, dtype=torch.float64)
    x = torch.randn(9, 9, dtype=torch.float64) @ torch.randn(9, 400).double()
    responses = weight @ x

    a, b = halves(weight, spectrum(responses @ responses.T).basis(), rank=2)

    root = torch.linalg.cholesky(x @ x.T)
    u, s, v = torch.linalg.svd(weight @ root, full_matrices=False)
    by_moments = (u[:, :2] * s[:2]) @ v[:2] @ torch.linalg.inv(root)
    torch.testing.assert_close(a @ b, by_moments, atol=1e-8, rtol=1e-6)
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    plain = (u[:, :2] * s[:2]) @ v[:2]
    assert error(weight, a @ b, x) < 0.9 * error(weight, plain, x)


def test_errors_that_weigh_more_are_avoided() -> None:
    """Against the plain solution for R y, where R^T R is what errors weigh."""
    weight = torch.randn(6, 9, dtype=torch.float64)
    x = torch.randn(9, 400, dtype=torch.float64)
    moments = weight @ x @ x.T @ weight.T
    root = torch.randn(6, 6, dtype=torch.float64)

    a, b = halves(weight, weighed(moments, root.T @ root), rank=2)

    moved = spectrum(root @ moments @ root.T).basis()
    c, d = halves(root @ weight, moved, rank=2)
    torch.testing.assert_close(root @ a @ b, c @ d, atol=1e-8, rtol=1e-6)
    e, f = halves(weight, spectrum(moments).basis(), rank=2)
    assert error(weight, e @ f, x) < error(weight, a @ b, x)
    assert error(root @ weight, root @ a @ b, x) < error(root @ weight, root @ e @ f, x)


def test_rank_and_energy_are_each_others_inverse() -> None:
    found = spectrum(torch.diag(torch.tensor([1.0, 6.0, 3.0])))
    assert found.energies.tolist() == pytest.approx([0.6, 0.3, 0.1])
    ranks = [found.rank_for(energy) for energy in (0.5, 0.6, 0.61, 0.89, 0.95, 1.0)]
    assert ranks == [1, 1, 2, 2, 3, 3]


def test_a_kernel_of_low_rank_is_found_exactly() -> None:
    """Made of a small core, it is given back by one of the same size."""
    core = torch.randn(3, 2, 3, 3, dtype=torch.float64)
    before = torch.randn(8, 2, dtype=torch.float64)
    after = torch.randn(10, 3, dtype=torch.float64)
    kernel = torch.einsum("bahw,ia,ob->oihw", core, before, after)

    found = tucker2(kernel, outputs_of(kernel), inputs=2, outputs=3)

    torch.testing.assert_close(found.kernel(), kernel, atol=1e-9, rtol=1e-9)
    assert mode_spectrum(kernel, axis=1).rank_for(0.999999) <= 2
    assert mode_spectrum(kernel, axis=0).rank_for(0.999999) <= 3


def test_the_inputs_are_the_best_for_what_is_left_of_the_outputs() -> None:
    """Against numpy: what is lost are the least singular values of that unfolding."""
    kernel = torch.randn(12, 10, 3, 3, dtype=torch.float64)
    outputs = outputs_of(kernel)

    found = tucker2(kernel, outputs, inputs=3, outputs=4)

    left = torch.einsum("oihw,ob->bihw", kernel, outputs.directions[:, :4])
    values = np.linalg.svd(left.movedim(1, 0).flatten(1).numpy(), compute_uv=False)
    lost = (torch.einsum("bahw,ia->bihw", found.core, found.inputs) - left).norm()
    assert float(lost) ** 2 == pytest.approx((values[3:] ** 2).sum())
    assert found.core.shape == (4, 3, 3, 3)
    torch.testing.assert_close(found.outputs, outputs.directions[:, :4])
