"""An INT8 network as an ExecuTorch program: the same integers as in every format."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.int8.grids import Grid
from compress.int8.kernels import quantize
from compress.int8.simulate import QuantizedNet, with_qdq
from runtime.artifact import Artifact
from runtime.errors import InputRejectedError, RecipeError
from runtime.preprocess import Preprocess
from runtime.session import open_session

pytest.importorskip("executorch", reason="ExecuTorch is not installed: [executorch]")
pytestmark = [
    pytest.mark.slow,  # its exporter takes ten seconds to import
    pytest.mark.filterwarnings("ignore"),
]
SIZE = 32


class Net(nn.Module):
    """A hard swish, a depthwise convolution, a gate, a residual sum, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish()
        )
        self.deep = nn.Sequential(
            nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8), nn.ReLU6()
        )
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid()
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
        )

    def forward(self, images: Tensor) -> Tensor:
        found = self.stem(images)
        deep = self.deep(found)
        answer: Tensor = self.head(found + deep * self.gate(deep))
        return answer


def written(net: nn.Module, path: Path, **options: object) -> Artifact:
    from export.to_executorch import to_executorch

    return to_executorch(
        net,
        size=SIZE,
        path=path,
        classes=tuple("abcdefghij"),
        preprocess=Preprocess(size=SIZE, resize=SIZE),
        recipe_sha256="f00",
        name="net",
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_a_program_computes_the_integers_of_the_simulation(
    seed: int,
    tmp_path: Path,
    workshop: Any,  # noqa: ANN401  # that of conftest
) -> None:
    """To the bit: XNNPACK's answer is the simulation's, rounded to the logits' grid."""
    torch.manual_seed(seed)
    images = workshop.pixels(16, SIZE)
    made = workshop.quantised(Net(), images)
    answers = QuantizedNet(made.graph, made.scheme)(images)
    scale = float(np.ptp(answers.numpy())) / 255
    grid = Grid(scale, round(-128 - float(answers.min()) / scale))
    scheme = replace(made.scheme, logits=grid)

    file = written(
        with_qdq(made.graph, scheme), tmp_path / "a.pte", dtype="int8", logits=grid
    )

    found = torch.from_numpy(open_session(file.path).run(images.numpy()))
    assert torch.equal(found, quantize(answers, grid))
    again = written(
        with_qdq(made.graph, scheme), tmp_path / "b.pte", dtype="int8", logits=grid
    )
    assert again.sha256 == file.sha256
    assert Artifact.read(file.path).classes == tuple("abcdefghij")


def test_a_float_program_answers_as_torch_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Net().eval()
    images = torch.randn(3, 3, SIZE, SIZE)
    file = written(net, tmp_path / "a.pte")
    session = open_session(file.path, threads=2)
    with torch.inference_mode():
        assert np.allclose(session.run(images.numpy()), net(images), atol=1e-5)
    session.bind(images[:1].numpy())()
    assert session.runtime.startswith("executorch ")
    cut = tmp_path / "cut.pte"
    cut.write_bytes(file.path.read_bytes()[:-16])
    with pytest.raises(InputRejectedError, match="is cut off"):
        Artifact.read(cut)


def test_what_is_no_program_or_has_no_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRejectedError, match="is a float network"):
        written(Net(), tmp_path / "a.pte", dtype="int8", logits=Grid(1.0, 0))
    with pytest.raises(RecipeError, match=r"must end in \.pte"):
        written(Net(), tmp_path / "a.onnx")
    (tmp_path / "b.pte").write_bytes(b"\x00" * 64)
    with pytest.raises(InputRejectedError, match=r"not a \.pte file"):
        open_session(tmp_path / "b.pte")
    (tmp_path / "c.pte").write_bytes(b"\x00\x00\x00\x00ET12" + bytes(56))
    with pytest.raises(InputRejectedError, match="does not load it"):
        open_session(tmp_path / "c.pte")
