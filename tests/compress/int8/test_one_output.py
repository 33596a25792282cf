"""A network with one output is judged, and taught, by its error."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import torch
from torch import Tensor, nn

from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.quantization.accuracy_recovery import Limits, recover_accuracy
from compress.quantization.evaluator import evaluator_of
from compress.quantization.output_sensitivity import influences
from compress.training.losses import soft_target_loss

IMAGES = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Regression(nn.Module):
    """How much of something is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.stem(images).relu().mean((2, 3)))
        return logits


def traced() -> torch.fx.GraphModule:
    """Its graph."""
    torch.manual_seed(0)
    graph = captured(Regression().eval(), size=16, name="one")
    canonical_(graph)
    return graph


def shown() -> list[tuple[Tensor, Tensor]]:
    """Images, and labels that mean nothing."""
    return [(IMAGES, torch.arange(12))]


def test_the_verdict_is_the_variance_that_is_kept() -> None:
    """Of half of the deviations from the mean, three quarters of their squares are."""
    graph = traced()
    judge = evaluator_of(graph, shown, labels_fit=False)
    mean = judge.logits.mean()

    verdict = judge(Halved(graph, mean))

    assert (
        verdict.agreement == torch.tensor(0.75).item()
        or abs(verdict.agreement - 0.75) < 1e-5
    )
    assert verdict.lost == "25.00% of the answer's variance lost"
    assert judge(graph).flips == 0


class Halved(nn.Module):
    """Another network's answer, half as far from a mean."""

    def __init__(self, net: nn.Module, mean: Tensor) -> None:
        super().__init__()
        self.net, self.mean = net, mean

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.mean + (self.net(images) - self.mean) / 2
        return answer


def test_what_matters_to_an_output_is_its_own_gradient() -> None:
    """Of a linear layer's weights: the features that it read."""
    graph = traced()
    found = influences(graph, {}, lambda: [IMAGES], most=12)
    features = {}

    def keep(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        features["read"] = given[0]

    torch.manual_seed(0)
    net = Regression().eval()
    net.head.register_forward_pre_hook(keep)
    net(IMAGES)
    wanted = features["read"].square().sum(dim=0, keepdim=True)
    torch.testing.assert_close(found.weights["head_weight"], wanted)


def test_the_doctor_climbs_for_one_output() -> None:
    """No argmax of one number may say that all is well."""
    graph = traced()
    judge = evaluator_of(graph, shown, labels_fit=False)

    healed = recover_accuracy(graph, lambda: [IMAGES], judge, limits=Limits(flips=1e-7))

    assert len(healed.rungs) > 1
    assert all(rung.counted == "variance" and rung.flips > 0 for rung in healed.rungs)


def test_one_output_is_taught_by_squared_error() -> None:
    student, teacher = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]])
    assert soft_target_loss(student, teacher, temperature=4.0) == 2.0


def test_labels_cannot_teach_one_output(
    started: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    """Told before any training; labels 0 to 9 once ended in a bug."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    pool = nn.AdaptiveAvgPool2d(1)\n"
        "    return nn.Sequential(pool, nn.Flatten(), nn.Linear(3, 1))\n"
    )
    done = started(
        *("quantize", "--model-file", f"{tmp_path / 'net.py'}:build", "--model", "net"),
        *("--data", "digits", "--image-size", "32", "--mode", "qat"),
        *("--distill", "0.5", "--out", str(tmp_path / "run")),
    )
    assert done.returncode == 2
    assert "tells 1 classes apart and digits has 10" in done.stderr
