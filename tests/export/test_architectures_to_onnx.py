"""Published architectures: the file is lean and computes what the network computes."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from compress.context.vision import timm, torchvision
from export.to_onnx import to_onnx
from runtime.preprocess import Preprocess
from runtime.session import open_session

# Operators that compute nothing an engine should have to look at.
SCRAPS = {"Identity", "Cast", "Shape", "Gather", "GatherND", "Range", "Where", "If"}


def network(name: str) -> nn.Module:
    """Build one with fresh weights, and statistics for its norms from two batches."""
    torch.manual_seed(0)
    net: nn.Module = (
        timm.create_model(name, num_classes=10)
        if name in timm.list_models()
        else torchvision.models.get_model(name, weights=None, num_classes=10)
    )
    for _ in range(2):
        net.train()(torch.randn(4, 3, 64, 64))
    return net.eval()


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("resnet18", True),
        ("mobilenetv3_large_100", True),
        ("regnety_002", True),
        ("squeezenet1_0", True),
        ("shufflenet_v2_x1_0", True),
        pytest.param("vgg11", True, marks=pytest.mark.slow),
        pytest.param("densenet121", False, marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", True, marks=pytest.mark.slow),
        pytest.param("convnext_tiny", True, marks=pytest.mark.slow),
    ],
)
def test_an_architecture_becomes_a_lean_file_with_the_same_answers(
    tmp_path: Path, name: str, folded: bool
) -> None:
    """DenseNet norms before it convolves, so only there a BatchNorm may stay."""
    net = network(name)
    images = torch.randn(6, 3, 64, 64)

    artifact = to_onnx(
        net,
        size=64,
        path=tmp_path / f"{name}.onnx",
        classes=tuple("0123456789"),
        preprocess=Preprocess(size=64, resize=64),
        recipe_sha256="0" * 64,
        name=name,
    )

    with torch.inference_mode():
        expected = net(images).numpy()
    scores = open_session(artifact).run(images.numpy())
    np.testing.assert_allclose(scores, expected, atol=1e-5 * np.abs(expected).max())
    operators = Counter(node.op_type for node in onnx.load(artifact.path).graph.node)
    assert not SCRAPS & operators.keys(), operators
    assert ("BatchNormalization" not in operators) is folded
    bytes_of_weights = 4 * sum(each.numel() for each in net.parameters())
    assert artifact.size_bytes == pytest.approx(bytes_of_weights, rel=0.02)
