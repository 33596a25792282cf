"""Losses against the formulas of the papers, written out by hand."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compress.training.losses import classification_loss, soft_target_loss

LOGITS = arrays(np.float64, (4, 5), elements=st.floats(-8, 8))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax as its definition."""
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


@given(LOGITS, LOGITS, st.floats(0.5, 20))
def test_distillation_loss_is_hintons(
    student: np.ndarray, teacher: np.ndarray, temperature: float
) -> None:
    """T^2 times the mean over images of sum p log(p / q), p the teacher's."""
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(axis=1).mean()

    found = soft_target_loss(
        torch.from_numpy(student), torch.from_numpy(teacher), temperature=temperature
    )

    np.testing.assert_allclose(found.item(), expected, rtol=1e-6, atol=1e-8)


def test_gradient_scale_does_not_depend_on_temperature() -> None:
    """At high temperature the gradient tends to (s - t) / classes, whatever T."""
    student = torch.tensor([[0.3, -0.1, 0.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[0.1, 0.2, -0.1]], dtype=torch.float64)

    for temperature in (50.0, 500.0):
        (gradient,) = torch.autograd.grad(
            soft_target_loss(student, teacher, temperature=temperature), student
        )
        centered = (student - student.mean()) - (teacher - teacher.mean())
        torch.testing.assert_close(gradient, centered / 3, rtol=0.05, atol=1e-4)


def test_a_student_like_its_teacher_has_nothing_to_learn() -> None:
    """KL of a distribution from itself is zero."""
    logits = torch.randn(3, 7, dtype=torch.float64)

    assert soft_target_loss(logits, logits, temperature=4.0).abs() < 1e-12


def test_label_smoothing_spreads_the_label_over_all_classes() -> None:
    """Szegedy et al. 2015: (1 - e) of the label, e / classes for every class."""
    logits, smoothing = torch.randn(6, 4, dtype=torch.float64), 0.2
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    target = (1 - smoothing) * torch.eye(4)[labels] + smoothing / 4
    expected = -(target * torch.log(torch.softmax(logits, 1))).sum(1).mean()

    found = classification_loss(logits, labels, label_smoothing=smoothing)

    torch.testing.assert_close(found, expected)
