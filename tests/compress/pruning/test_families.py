"""Every family of the model table is cut by 30 %, runs, and comes back bit for bit."""

from pathlib import Path

import pytest
import torch

from compress.checkpoint import load, save_model
from compress.models.build import build, skeleton
from compress.models.spec import ModelSpec
from compress.pruning.budget import Ranking, allowed_units, least_missed, pools_of
from compress.pruning.criteria import scores
from compress.pruning.cutting import cut, silenced
from compress.pruning.graph import groups_of
from compress.pruning.layout import Layout
from compress.pruning.proof import proved
from compress.screen import Screen
from compress.surgery.differences import widths_between
from compress.surgery.record import Surgery

# One of each family, at the smallest side that all of its layers can do with.
SMALL = [("lenet5", 32), ("cifar_resnet20", 32), ("mobilenetv2_100", 64)]
LARGE = [
    ("alexnet", 64),
    ("vgg16", 32),
    ("googlenet", 64),
    ("inception_v3", 96),
    ("resnet18", 64),
    ("resnet50", 64),
    ("resnetv2_50", 64),
    ("wide_resnet50_2", 64),
    ("resnext50_32x4d", 64),
    ("seresnet50", 64),
    ("senet154", 64),
    ("densenet121", 64),
    ("legacy_xception", 96),
    ("darknet53", 64),
    ("squeezenet1_1", 64),
    ("shufflenet_v2_x1_0", 64),
    ("mobilenetv1_100", 64),
    ("mobilenetv3_small_100", 64),
    ("mobilenetv4_conv_small", 64),
    ("efficientnet_b0", 64),
    ("tf_efficientnet_lite0", 64),
    ("tf_efficientnetv2_s", 64),
    ("coatnet_0_224", 224),
    ("regnetx_008", 64),
    ("regnety_008", 64),
    ("convnext_tiny", 64),
]


@pytest.mark.parametrize(
    ("name", "size"),
    [*SMALL, *(pytest.param(*case, marks=pytest.mark.slow) for case in LARGE)],
)
def test_a_family_is_cut_and_comes_back(name: str, size: int, tmp_path: Path) -> None:
    """Where no layer norm looks on, it answers as with those channels at zero."""
    model = build(
        ModelSpec(name=name),
        classes=("a", "b", "c"),
        native_size=None,
        size=size,
        seed=0,
        screen=Screen(verbosity="quiet"),
    )
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
    surgery = Surgery(widths=widths_between(bare, net))
    save_model(model.operated(net, surgery), tmp_path)

    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        answer = net(images)
        assert torch.equal(load(tmp_path)(images), answer)
        if not any(isinstance(m, torch.nn.LayerNorm) for m in net.modules()):
            expected = silenced(model.net, groups, chosen)(images)
            torch.testing.assert_close(answer, expected, rtol=1e-3, atol=1e-4)
    assert layout.macs(kept) < 0.85 * layout.macs(layout.full)
