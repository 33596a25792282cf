"""A net with every kind of operator that TFLite needs spelled, and its files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  # the field's name for it
from torch import Tensor, nn

from compress.int8.canonicalize import canonical_
from compress.int8.capture import captured
from compress.int8.grids import Scheme
from compress.int8.plan import planned
from compress.int8.pools import averages_are_convolutions_
from compress.int8.rules import pixel_levels
from compress.int8.simulate import QuantizedNet, with_qdq
from compress.quantization.calibrate import scheme_of, seen_ranges
from export.to_tflite import to_tflite
from runtime.artifact import Artifact
from runtime.preprocess import Preprocess

SIZE = 32
CLASSES = tuple(f"class {number}" for number in range(10))
PREPROCESS = Preprocess(size=SIZE, resize=SIZE)


class Everything(nn.Module):
    """h-swish, a gate, a residual sum, SiLU, padded pools, concat and shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.squeeze = nn.Conv2d(16, 8, 1)
        self.excite = nn.Conv2d(8, 16, 1)
        self.project = nn.Conv2d(16, 16, 1)
        self.left = nn.Conv2d(16, 24, 1)
        self.right = nn.Conv2d(16, 24, 1)
        self.head = nn.Linear(48, len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 10]."""
        x = F.hardswish(self.norm(self.stem(images)))
        y = F.relu6(self.depthwise(x))
        gate = self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True))))
        y = F.relu(self.project(y * F.hardsigmoid(gate)) + x)
        y = F.max_pool2d(y, 3, 2, 1)
        left = F.silu(self.left(y))
        right = F.relu(self.right(F.avg_pool2d(y, 3, 1, 1)))
        both = torch.cat([left, right], 1)
        n, c, h, w = both.shape
        both = both.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous()
        both = both.view(n, c, h, w)
        return self.head(F.avg_pool2d(both, 2).mean((2, 3)))


@dataclass(frozen=True)
class Quantized:
    """A net's graph, the grids it got, and images in both layouts."""

    net: nn.Module
    graph: torch.fx.GraphModule
    scheme: Scheme
    images: Tensor

    @property
    def channels_last(self) -> npt.NDArray[np.float32]:
        """The images as a TFLite file takes them."""
        return np.ascontiguousarray(self.images.numpy().transpose(0, 2, 3, 1))

    def answers(self) -> npt.NDArray[np.float32]:
        """What integer kernels answer to its images, computed in torch."""
        return self.on(self.images)

    def on(self, images: Tensor) -> npt.NDArray[np.float32]:
        """What integer kernels answer."""
        net = QuantizedNet(self.graph, self.scheme)
        with torch.inference_mode():
            answers = [net(batch).numpy() for batch in images.split(16)]
        return np.concatenate(answers)


@dataclass(frozen=True)
class Workshop:
    """What tests of files make them with."""

    def pixels(self, count: int, size: int) -> Tensor:
        """See below."""
        return pixels(count, size)

    def quantized(self, net: nn.Module, images: Tensor) -> Quantized:
        """Settle a random net on `images` and choose its grids by them."""
        return quantized_net(settled(net, images), images)

    def chosen(self, net: nn.Module, images: Tensor) -> Quantized:
        """Choose the grids of a trained net by `images`."""
        return quantized_net(net, images)

    def written(self, net: nn.Module, path: Path, **options: object) -> Artifact:
        """See below."""
        return written(net, path, **options)


def pixels(count: int, size: int) -> Tensor:
    """Smooth colored noise of uint8 pixels, normalized, [count, 3, size, size]."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, 6, 6, generator=generator)
    smooth = F.interpolate(coarse, (size, size), mode="bilinear")
    noise = 0.1 * torch.rand(smooth.shape, generator=generator)
    raw = ((smooth * 0.9 + noise) * 255).to(torch.uint8)
    prepared = Preprocess(size=size, resize=size)(raw.permute(0, 2, 3, 1).numpy())
    return torch.from_numpy(prepared)


def settled(net: nn.Module, images: Tensor) -> nn.Module:
    """Give a random net the statistics of a trained one: batch norms that fit."""
    torch.manual_seed(5)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 0.5
                layer.weight.uniform_(0.7, 1.3)
                layer.bias.normal_(0, 0.3)
        for _ in range(3):
            net.train()(images)
    return net.eval()


def quantized_net(net: nn.Module, images: Tensor) -> Quantized:
    """Capture a net and choose its grids by the extremes of `images`."""
    graph = captured(net, size=images.shape[-1], name="net")
    canonical_(graph)
    averages_are_convolutions_(graph)
    plan = planned(graph)
    seen = seen_ranges(graph, plan, lambda: [images])
    levels = pixel_levels(PREPROCESS.mean, PREPROCESS.std)
    scheme = scheme_of(graph, plan, seen, "minmax", levels=levels)
    return Quantized(net, graph, scheme, images)


def written(net: nn.Module, path: Path, **options: object) -> Artifact:
    """Write a net of SIZE to `path`, in INT8 where nothing else is said."""
    given = {"dtype": "int8", "size": SIZE, "classes": CLASSES, **options}
    return to_tflite(
        net,
        path=path,
        preprocess=PREPROCESS,
        recipe_sha256="f00",
        name="everything",
        **given,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="session")
def workshop() -> Workshop:
    """Make nets and files."""
    return Workshop()


@pytest.fixture(scope="session")
def everything() -> Quantized:
    """The net with every operator, quantized."""
    torch.manual_seed(0)
    images = pixels(32, SIZE)
    return quantized_net(settled(Everything(), images), images)


@pytest.fixture(scope="session")
def int8_file(
    everything: Quantized, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    """Its file with float32 input and output."""
    path = tmp_path_factory.mktemp("int8") / "everything.tflite"
    return written(with_qdq(everything.graph, everything.scheme), path)


@pytest.fixture(scope="session")
def float_file(
    everything: Quantized, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    """The float net's file."""
    path = tmp_path_factory.mktemp("float32") / "everything.tflite"
    return written(everything.net, path, dtype="float32")
