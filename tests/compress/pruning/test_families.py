"""Every family of the model table is cut by 30 %, comes back to the bit, and ships.

Of blocks that repeat each other one or two are left: what can go wrong in a family is
in its kinds of blocks, not in how many there are.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.context.console import Console
from compress.context.vision import timm
from compress.models.build import build, skeleton
from compress.models.checkpoint import load, save_model
from compress.models.model import Model
from compress.models.spec import ModelSpec
from compress.models.surgery.differences import widths_between
from compress.models.surgery.rebuild import rebuilt
from compress.models.surgery.record import Surgery
from compress.pruning.budget import Ranking, allowed_units, least_missed, pools_of
from compress.pruning.criteria import scores
from compress.pruning.cutting import cut, silenced
from compress.pruning.graph import groups_of
from compress.pruning.group_check import proved
from compress.pruning.layout import Layout
from export.to_onnx import to_onnx
from export.to_tflite import to_tflite
from runtime.artifact import Artifact
from runtime.batch import in_layout_of
from runtime.session import open_session

# One of each family, at the smallest side that all of its layers can do with.
SMALL = [("lenet5", 32), ("cifar_resnet20", 32), ("mobilenetv2_100", 64)]
LARGE = [
    ("alexnet", 64),
    ("vgg11", 32),
    ("googlenet", 64),
    ("inception_v3", 96),
    ("resnet18", 64),
    ("resnet50", 64),
    ("resnetv2_18", 64),
    ("wide_resnet50_2", 64),
    ("resnext50_32x4d", 64),
    ("seresnet50", 64),
    ("senet154", 64),
    ("densenet121", 64),
    ("legacy_xception", 96),
    ("darknet53", 64),
    ("squeezenet1_1", 64),
    ("shufflenet_v2_x0_5", 64),
    ("mobilenetv1_100", 64),
    ("mobilenetv3_small_100", 64),
    ("mobilenetv4_conv_small", 64),
    ("efficientnet_b0", 64),
    ("tf_efficientnet_lite0", 64),
    ("tf_efficientnetv2_b0", 64),
    ("coatnet_0_224", 64),
    ("regnetx_002", 64),
    ("regnety_002", 64),
    ("convnext_tiny", 64),
]


# Plain with a head of linear layers, residual, before it normalized, concatenated,
# depthwise with a gate, shuffled, grouped, layer-normalized.
TFLITE: Final = frozenset(
    {
        "lenet5",
        "resnet18",
        "resnetv2_18",
        "squeezenet1_1",
        "mobilenetv3_small_100",
        "shufflenet_v2_x0_5",
        "resnext50_32x4d",
        "convnext_tiny",
    }
)
# Repeated blocks that lie in no sequence.
ALONE: Final = (
    *("inception4b", "inception4c"),  # GoogLeNet
    *("Mixed_6d", "Mixed_7c"),  # Inception-v3
    *(f"block{number}" for number in range(5, 12)),  # Xception
)


def whole(name: str, size: int) -> Model:
    """A network of that name, of whose repeated blocks at most two are left."""
    model = build(
        ModelSpec(name=name),
        classes=("a", "b", "c"),
        native_size=None,
        size=size,
        seed=0,
        console=Console(verbosity="quiet"),
    )
    surgery = Surgery(removed=tuple(repeated(model.net)))
    return model.operated(rebuilt(model.net, surgery), surgery)


def repeated(net: nn.Module) -> list[str]:
    """Blocks that are shaped as the one before them, so that nobody will miss them."""
    found = [name for name in ALONE if hasattr(net, name)]
    for name, stage in net.named_modules():
        if isinstance(stage, nn.Sequential | timm.models.regnet.RegStage):
            names = [child for child, _ in stage.named_children()]
            shapes = [
                [each.shape for each in block.state_dict().values()]
                for block in stage.children()
            ]
            found += [
                f"{name}.{names[at]}"
                for at in range(1, len(shapes))
                if len(shapes[at]) > 3 and shapes[at] == shapes[at - 1]
            ]
    return found


@pytest.mark.parametrize(
    ("name", "size"),
    [*SMALL, *(pytest.param(*case, marks=pytest.mark.slow) for case in LARGE)],
)
def test_a_family_is_cut_and_comes_back(name: str, size: int, tmp_path: Path) -> None:
    """Where no layer norm looks on, it answers as with those channels at zero."""
    model = whole(name, size)
    groups = proved(
        model.net, groups_of(model.net, size=size, name=name), size=size
    ).groups
    values = scores(model.net, groups, "l2", rng=torch.Generator())
    ranking = Ranking(
        scores=values,
        pools=pools_of(model.net, groups, "local"),
        allowed=[allowed_units(group, round_to=1) for group in groups],
    )
    layout = Layout(model.net, groups, size=size)
    kept = ranking.kept(0.3)
    chosen = {
        index: least_missed(value, units)
        for index, (value, units) in enumerate(zip(values, kept, strict=True))
    }

    net = cut(model.net, groups, chosen)
    bare = skeleton(model.spec, classes=3, size=size)
    surgery = model.surgery.model_copy(update={"widths": widths_between(bare, net)})
    save_model(model.operated(net, surgery), tmp_path)

    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        answer = net(images)
        assert torch.equal(load(tmp_path)(images), answer)
        if not any(isinstance(m, torch.nn.LayerNorm) for m in net.modules()):
            expected = silenced(model.net, groups, chosen)(images)
            torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-4)
    assert layout.macs(kept) < 0.85 * layout.macs(layout.full)
    files = shipped(model.with_net(net), size, tmp_path, lite=name in TFLITE)
    for file in files:
        apart = np.abs(asked(file, images) - answer.numpy()).max()
        assert apart < 1e-4 * answer.abs().max(), file.path


def shipped(model: Model, size: int, folder: Path, *, lite: bool) -> list[Artifact]:
    """The files of a network in float32."""
    about = {
        "size": size,
        "classes": model.classes,
        "preprocess": model.preprocess,
        "recipe_sha256": "0" * 64,
        "name": model.spec.name,
    }
    files = [to_onnx(model.net, path=folder / "net.onnx", batch="static", **about)]
    if lite:
        pytest.importorskip("litert_torch")
        files.append(to_tflite(model.net, path=folder / "net.tflite", **about))
    return files


def asked(file: Artifact, images: Tensor) -> np.ndarray:
    """Scores of images, one by one, as the file takes them."""
    session = open_session(file)
    batches = in_layout_of(file, images.numpy())
    return np.concatenate([session.run(image[None]) for image in batches])
