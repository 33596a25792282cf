"""The exported file: what is in it, always the same bytes, and what is refused."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from export.to_onnx import to_onnx
from runtime.artifact import Artifact
from runtime.errors import InputRejectedError, RecipeError
from runtime.preprocess import Preprocess
from runtime.session import open_session

CLASSES = ("cat", "dog", "owl")
ROOT = Path(__file__).parents[2]


class Tiny(nn.Module):
    """Convolution, BatchNorm, branch, pooling: the smallest net with a shortcut."""

    def __init__(self, bins: int = 1) -> None:
        """Pool into bins x bins; weights from a generator of its own."""
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.pool = nn.AdaptiveAvgPool2d(bins)
        self.head = nn.Linear(8 * bins * bins, 3)
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for values in self.state_dict().values():
                if values.is_floating_point():
                    values.copy_(torch.rand(values.shape, generator=generator) + 0.5)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 3]."""
        features = torch.relu(self.norm(self.stem(images)))
        pooled = self.pool(features + features.mean((2, 3), keepdim=True))
        return self.head(self.drop(pooled.flatten(1)))


class Undecided(Tiny):
    """Looks at the values of its input before it decides."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits, or twice as much."""
        logits = super().forward(images)
        if logits.sum() > 0:
            return logits
        return logits * 2


class Bessel(Tiny):
    """Uses an operator that ONNX does not have."""

    def forward(self, images: Tensor) -> Tensor:
        """Bessel functions of logits."""
        return torch.special.bessel_j0(super().forward(images))


class Pairs(Tiny):
    """Takes two images at a time, no other number."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits of two images."""
        return super().forward(images.reshape(2, 3, 8, 8))


class Twofold(Tiny):
    """Answers with a pair, like a network with an auxiliary head."""

    def forward(self, images: Tensor) -> Tensor:
        """Give logits twice."""
        logits = super().forward(images)
        return (logits, logits)  # type: ignore[return-value]  # that is the point


def exported(net: nn.Module, path: Path, *, batch: str = "dynamic") -> Artifact:
    """Export with the facts that every test uses."""
    return to_onnx(
        net,
        size=8,
        path=path,
        batch="static" if batch == "static" else "dynamic",
        classes=CLASSES,
        preprocess=Preprocess(size=8, resize=9),
        recipe_sha256="12" * 32,
        name="tiny",
    )


@pytest.mark.parametrize("bins", [1, 2, 3, 8, 11])
def test_the_file_answers_like_the_network(tmp_path: Path, bins: int) -> None:
    """Whatever the pooling; the features' side is 8, which 3 and 11 do not divide."""
    net = Tiny(bins).eval()
    images = torch.rand(5, 3, 8, 8)

    session = open_session(exported(net, tmp_path / "net.onnx"))

    with torch.inference_mode():
        expected = net(images).numpy()
    np.testing.assert_allclose(session.run(images.numpy()), expected, rtol=1e-5)


def test_a_static_file_takes_one_image_and_a_dynamic_one_any_number(
    tmp_path: Path,
) -> None:
    """The first axis is 1, or a name."""
    axes = {}
    for batch in ("static", "dynamic"):
        path = exported(Tiny(), tmp_path / f"{batch}.onnx", batch=batch).path
        graph = onnx.load(path).graph
        assert [each.name for each in graph.input] == ["image"]
        assert [each.name for each in graph.output] == ["logits"]
        shapes = [
            [
                axis.dim_param or axis.dim_value
                for axis in each.type.tensor_type.shape.dim
            ]
            for each in (*graph.input, *graph.output)
        ]
        axes[batch] = shapes
    assert axes["static"] == [[1, 3, 8, 8], [1, 3]]
    assert axes["dynamic"] == [["batch", 3, 8, 8], ["batch", 3]]


def test_the_graph_holds_what_the_network_does_and_nothing_else(tmp_path: Path) -> None:
    """BatchNorm is folded, dropout gone, and every name tells the layer."""
    graph = onnx.load(exported(Tiny(), tmp_path / "net.onnx").path).graph

    assert Counter(node.op_type for node in graph.node) == {
        "Conv": 1,
        "Relu": 1,
        "Add": 1,
        "GlobalAveragePool": 2,
        "Reshape": 1,
        "Gemm": 1,
    }
    assert graph.node[0].name == "stem/Conv"
    assert list(graph.node[0].input) == ["image", "stem.weight", "stem.bias"]
    assert graph.node[-1].name == "head/Gemm"


def test_the_file_says_how_to_use_it(tmp_path: Path) -> None:
    """Labels, preprocessing, recipe and versions are in the file, too."""
    artifact = exported(Tiny(), tmp_path / "net.onnx")
    facts = {
        each.key: json.loads(each.value)
        for each in onnx.load(artifact.path).metadata_props
    }

    assert facts["classes"] == ["cat", "dog", "owl"]
    assert Preprocess.from_record(facts["preprocess"]) == Preprocess(size=8, resize=9)
    assert facts["recipe_sha256"] == "12" * 32
    assert facts["versions"]["torch"] == torch.__version__
    artifact.sidecar.unlink()
    alone = Artifact.read(artifact.path)
    assert alone.classes == CLASSES
    assert alone.recipe_sha256 == "12" * 32


def test_the_artifact_describes_the_file(tmp_path: Path) -> None:
    """Digest and size are the file's own, and the sidecar reads back equal."""
    artifact = exported(Tiny(), tmp_path / "net.onnx")
    content = artifact.path.read_bytes()

    assert artifact.sha256 == hashlib.sha256(content).hexdigest()
    assert artifact.size_bytes == len(content)
    assert Artifact.read(artifact.path) == artifact
    assert str(ROOT).encode() not in content


def test_two_exports_are_the_same_bytes(tmp_path: Path) -> None:
    """Even in another process, another folder, with another hash seed."""
    digests = {exported(Tiny(), tmp_path / "a.onnx").sha256}
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        script = (
            "import importlib.util, pathlib\n"
            f"spec = importlib.util.spec_from_file_location('t', {__file__!r})\n"
            "t = importlib.util.module_from_spec(spec); spec.loader.exec_module(t)\n"
            "print(t.exported(t.Tiny(), pathlib.Path('b.onnx')).sha256)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "HOME": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_the_network_is_left_as_it_is(tmp_path: Path) -> None:
    """Training mode, layout, gradients and every number."""
    net = Tiny().to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    before = {key: value.clone() for key, value in net.state_dict().items()}

    exported(net, tmp_path / "net.onnx")

    assert net.training
    assert all(each.requires_grad for each in net.parameters())
    assert net.stem.weight.is_contiguous(memory_format=torch.channels_last)
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_the_exporter_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What torch remarks belongs neither to the answer nor to the conversation."""
    exported(Tiny(), tmp_path / "net.onnx")

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Undecided(), ("test_to_onnx.py, line", "if logits.sum() > 0:", "torch.where")),
        (Bessel(), ("bessel_j0", "ONNX has no such operator")),
        (Pairs(), ("fixes the number of images", "static batch")),
        (Twofold(), ("with a tuple", "expected logits [2, 3]")),
    ],
    ids=["values decide", "unknown operator", "fixed batch", "two answers"],
)
def test_a_network_that_is_no_graph_is_refused_in_one_sentence(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    net: nn.Module,
    words: tuple[str, ...],
) -> None:
    """The sentence names the line or the operator; nothing is left behind."""
    with pytest.raises(InputRejectedError) as refused:
        exported(net, tmp_path / "net.onnx")

    sentence = str(refused.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_weights_beyond_two_gigabytes_are_refused_before_any_work(
    tmp_path: Path,
) -> None:
    """A protobuf file ends there; on the meta device the test needs no memory."""
    with torch.device("meta"):
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3_000_000))

    with pytest.raises(RecipeError, match=r"2\.32 GB of weights"):
        exported(net, tmp_path / "net.onnx")


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old file of that name stays as it was."""
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")

    def full(self: Path, content: bytes) -> int:
        del self, content
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RecipeError, match="No space left"):
        exported(Tiny(), path)
    monkeypatch.undo()

    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]


def test_a_name_without_onnx_is_refused(tmp_path: Path) -> None:
    """Nothing here would read it again."""
    with pytest.raises(RecipeError, match=r"must end in \.onnx"):
        exported(Tiny(), tmp_path / "net.bin")
