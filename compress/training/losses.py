"""Losses, as pure functions of tensors."""

import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor


def classification_loss(
    logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy, averaged over the batch.

    logits: float [n, classes]; labels: int64 [n], or float [n, classes] once two
    images were mixed. Label smoothing as in Szegedy et al. 2015, section 7.
    """
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def soft_target_loss(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """KL from teacher to student at `temperature`, times T^2, averaged over the batch.

    Both are logits, float [n, classes]. Soft-target gradients shrink as 1/T^2, hence
    the factor, which keeps their scale (Hinton et al. 2015, section 2). A single output
    is no choice among classes: its mean squared error.
    """
    if student.shape[1] == 1:
        return F.mse_loss(student, teacher.to(student.dtype))
    soft = F.log_softmax(student / temperature, dim=1)
    hint = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(soft, hint, log_target=True, reduction="batchmean")
    return divergence * temperature**2
